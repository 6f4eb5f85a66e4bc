// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/halfclose/halfclose/pkg/api"
)

// problem is the body of an answer to a request that failed.
type problem struct {
	Error string `json:"error"`
}

// statusError is an error with the status code of its answer.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string { return e.text }

// badRequest returns the error of a request that is wrong.
func badRequest(text string) error { return statusError{http.StatusBadRequest, text} }

// reply returns a handler that answers with the result of get.
func (s *Server) reply(get func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := get(r)
		if err != nil {
			s.fail(w, err)
			return
		}
		s.logWrite(writeJSON(w, http.StatusOK, answer))
	}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) { s.logWrite(writeError(w, err)) }

// logWrite logs that an answer could not be written, because the client has closed the connection.
func (s *Server) logWrite(err error) {
	if err != nil {
		s.Log.Debug("write an answer", "error", err)
	}
}

// writeError answers with an error and its status code.
func writeError(w http.ResponseWriter, err error) error {
	code := http.StatusInternalServerError
	switch e, ok := errors.AsType[statusError](err); {
	case ok:
		code = e.code
	case errors.Is(err, api.ErrStopped), errors.Is(err, context.DeadlineExceeded):
		code = http.StatusServiceUnavailable
	}
	return writeJSON(w, code, problem{err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	return json.NewEncoder(w).Encode(v)
}
