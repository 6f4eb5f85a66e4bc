// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
)

func (s *Server) history(w http.ResponseWriter, r *http.Request, v url.Values) {
	q, err := historyQuery(v)
	if err != nil {
		s.fail(w, err)
		return
	}
	page, err := s.Reaper.History(r.Context(), q)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.written(writeHistory(w, page))
}

// writeHistory writes a page as encoding/json does, but a few entries at a time: where hundreds of workers hold
// every socket, the entries share one list of them in memory, and as text each has its own.
func writeHistory(w io.Writer, page api.HistoryPage) error {
	entries := page.Entries
	page.Entries = []api.Entry{}
	frame, err := json.Marshal(page)
	if err != nil {
		return err
	}
	before, after, _ := bytes.Cut(frame, []byte("[]")) // the only list
	b := append(slices.Clip(before), '[')
	for i := range entries {
		text, err := json.Marshal(&entries[i])
		if err != nil {
			return err
		}
		if i > 0 {
			b = append(b, ',')
		}
		if b = append(b, text...); len(b) >= sendSize {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, err = w.Write(append(append(append(b, ']'), after...), '\n'))
	return err
}
