// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The bounds on a request to set the mode, in bytes.
const (
	maxWho    = 256 // longer names are cut
	maxReason = 256 // longer reasons are cut
)

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) {
	m, err := decodeModeRequest(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.fail(w, err)
		return
	}
	view, err := s.Reaper.SetMode(r.Context(), state.Switch{
		Scope: m.Scope, Mode: m.Mode, Who: printableName(m.Who), When: time.Now().UTC().Truncate(time.Second),
		Until: m.Until.UTC().Round(time.Second), Reason: printableReason(m.Reason),
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	s.logWrite(writeJSON(w, http.StatusOK, view))
}

// scopeParams binds the parameters of GET /v1/mode/dry-run.
func scopeParams(s *state.Scope) params {
	return params{textParam("id", &s.ID), textParam("namespace", &s.Namespace), textParam("pod", &s.Pod)}
}

func (s *Server) dryRun(r *http.Request) (any, error) {
	var scope state.Scope
	if err := scopeParams(&scope).decode(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if err := scope.Check(); err != nil {
		return nil, badRequest(err.Error())
	}
	s.Reaper.Refresh(r.Context())
	return s.Reaper.DryRun(r.Context(), scope)
}

// decodeModeRequest reads a ModeRequest.
func decodeModeRequest(body io.Reader) (m api.ModeRequest, err error) {
	const want = `want {"mode": "destroy" or "observe", "who": "..."}, and possibly "namespace", "pod", "id", "until", "reason"`
	if err := decodeBody(body, &m, want); err != nil {
		return m, err
	}
	switch {
	case m.Mode == 0:
		return m, badRequest(want + ": no mode")
	case m.Mode == policy.Off:
		return m, badRequest("the switch can be destroy or observe; " + api.WhereOff)
	case m.Mode == policy.Destroy && !m.Until.IsZero():
		return m, badRequest("until is for mode observe: destroy lifts a switch, and needs no end")
	}
	if err := m.Check(); err != nil {
		return m, badRequest(err.Error())
	}
	return m, nil
}

// printableName returns the name of the person who sets the mode in a form that is safe to store and to show. No name
// prevents the mode from being set.
func printableName(who string) string {
	who = safetext.Cut(safetext.Replace(strings.TrimSpace(who), '?'), maxWho)
	return cmp.Or(strings.TrimSpace(who), "unknown")
}

// printableReason returns an operator's reason in a form that is safe to store and to show.
func printableReason(text string) string {
	return strings.TrimSpace(safetext.Cut(safetext.Replace(strings.TrimSpace(text), '?'), maxReason))
}
