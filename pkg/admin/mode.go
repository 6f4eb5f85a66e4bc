// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The bounds on a request to set the mode.
const (
	maxRequest = 16 << 10 // bytes
	maxWho     = 128      // characters, which are kept
)

func (s *Server) setMode(w http.ResponseWriter, r *http.Request, _ url.Values) {
	m, err := modeRequest(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		s.fail(w, err)
		return
	}
	view, err := s.Reaper.SetMode(r.Context(), state.Switch{
		Mode: m.Mode, Who: legible(m.Who), When: time.Now().UTC().Round(time.Second),
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, view)
}

// modeRequest reads a ModeRequest.
func modeRequest(body io.Reader) (m api.ModeRequest, err error) {
	const want = `want {"mode": "destroy" or "observe", "who": "..."}`
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err = dec.Decode(&m); err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind it")
		}
	}
	if long, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return m, failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("%s, of at most %d bytes", want, long.Limit)}
	}
	switch {
	case err != nil:
		return m, badRequest(want + ": " + err.Error())
	case m.Mode == 0:
		return m, badRequest(want + ": there is no mode")
	case m.Mode == policy.Off:
		return m, badRequest("the mode is set to destroy or observe; for off, which does not even look, start the reaper with --mode off")
	}
	return m, nil
}

// legible makes of what somebody said who they are what can be kept and shown: it never keeps the switch from
// being set.
func legible(who string) string {
	who = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.TrimSpace(strings.ToValidUTF8(who, "?")))
	if runes := []rune(who); len(runes) > maxWho {
		who = string(runes[:maxWho-1]) + "…"
	}
	if who == "" {
		return "somebody who did not say"
	}
	return who
}
