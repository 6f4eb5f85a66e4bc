// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/halfclose/halfclose/pkg/api"
)

// problem is the answer to a request that failed.
type problem struct {
	Error string `json:"error"`
}

// failure is an error with the status code that it is answered with.
type failure struct {
	code int
	text string
}

func (f failure) Error() string { return f.text }

// badRequest is the failure of who asks for what cannot be.
func badRequest(text string) error { return failure{http.StatusBadRequest, text} }

// reply answers with what get returns.
func (s *Server) reply(get func(*http.Request, url.Values) (any, error)) handler {
	return func(w http.ResponseWriter, r *http.Request, v url.Values) {
		answer, err := get(r, v)
		if err != nil {
			s.fail(w, err)
			return
		}
		s.answer(w, http.StatusOK, answer)
	}
}

// fail answers with what is wrong.
func (s *Server) fail(w http.ResponseWriter, err error) { s.written(fail(w, err)) }

func (s *Server) answer(w http.ResponseWriter, code int, v any) { s.written(answer(w, code, v)) }

// written notes that an answer could not be written: the client has gone.
func (s *Server) written(err error) {
	if err != nil {
		s.Log.Debug("answer a request", "error", err)
	}
}

// fail answers with what is wrong.
func fail(w http.ResponseWriter, err error) error {
	code := http.StatusInternalServerError
	switch f, ok := errors.AsType[failure](err); {
	case ok:
		code = f.code
	case errors.Is(err, api.ErrStopped), errors.Is(err, context.DeadlineExceeded):
		code = http.StatusServiceUnavailable
	}
	return answer(w, code, problem{err.Error()})
}

func answer(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	return json.NewEncoder(w).Encode(v)
}
