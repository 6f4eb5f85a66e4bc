// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
)

// recorder is a ResponseWriter that keeps the length of the longest piece.
type recorder struct {
	*httptest.ResponseRecorder
	longest int
}

func (r *recorder) Write(b []byte) (int, error) {
	r.longest = max(r.longest, len(b))
	return r.ResponseRecorder.Write(b)
}

// pageReaper answers with a page of the history.
type pageReaper struct {
	Reaper
	page *api.HistoryPage
}

func (r pageReaper) EachEntry(_ context.Context, _ api.HistoryQuery, yield func(*api.Entry) error) (api.HistoryEnd, error) {
	for i := range r.page.Entries {
		if err := yield(&r.page.Entries[i]); err != nil {
			return api.HistoryEnd{}, err
		}
	}
	return r.page.End(), nil
}

// TestAPageOfTheHistoryIsSentInPieces has sockets with hundreds of shared owners, which are 1.8 MB of text.
func TestAPageOfTheHistoryIsSentInPieces(t *testing.T) {
	var workers []owners.Process
	for i := range 200 {
		workers = append(workers, owners.Process{PID: i, Command: "[] <worker>", ContainerID: "c0ffee"})
	}
	for name, entries := range map[string]int{"none": 0, "one": 1, "many": 100} {
		t.Run(name, func(t *testing.T) {
			want := api.HistoryPage{History: "j", Since: time.Unix(1, 0).UTC(), Entries: []api.Entry{}, Last: 9, Missed: 3}
			for i := range entries {
				want.Entries = append(want.Entries, api.Entry{Seq: uint64(i), Outcome: api.Destroyed, State: inetdiag.CloseWait, Owners: workers})
			}
			w := recorder{ResponseRecorder: httptest.NewRecorder()}
			server := Server{Reaper: pageReaper{page: &want}, Log: slog.New(slog.DiscardHandler)}
			server.history(&w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/history", nil))
			if lines := strings.Count(w.Body.String(), "\n"); lines != entries+1 {
				t.Errorf("%d lines for %d entries", lines, entries)
			}
			if w.longest > lineBuffer {
				t.Errorf("%d of %d bytes at once, more than %d", w.longest, w.Body.Len(), lineBuffer)
			}
			entries := []api.Entry{}
			end, err := readHistory(json.NewDecoder(w.Body), func(e *api.Entry) error {
				entries = append(entries, *e)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got := end.Page(entries)
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("as the client reads it (-want +got)\n%s", diff)
			}
		})
	}
}

// FuzzEveryCutAnswerIsAnError cuts an answer at each place, and reads what is left.
func FuzzEveryCutAnswerIsAnError(f *testing.F) {
	f.Add("10.0.0.1:80", 3, 0)
	f.Add("complete", 0, 20)
	f.Add("\"},{\n", 2, 100)
	f.Fuzz(func(t *testing.T, local string, sockets, cut int) {
		if sockets < 0 || sockets > 5 {
			return
		}
		w := httptest.NewRecorder()
		out := newLineWriter(w)
		for range sockets {
			if err := out.Encode(&api.SocketView{Local: local, State: inetdiag.CloseWait}); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.end(api.SocketsEnd{Complete: true, Problems: []string{}}); err != nil {
			t.Fatal(err)
		}
		text := w.Body.Bytes()
		if list, err := readSockets(json.NewDecoder(bytes.NewReader(text))); err != nil || len(list.Sockets) != sockets {
			t.Fatalf("%d of %d sockets, %v: %s", len(list.Sockets), sockets, err, text)
		}
		if cut < 0 || cut >= len(text)-1 { // the last line end may be missing
			return
		}
		if list, err := readSockets(json.NewDecoder(bytes.NewReader(text[:cut]))); !errors.Is(err, io.ErrUnexpectedEOF) || list.Sockets != nil {
			t.Errorf("cut after %d bytes: %d sockets, %v", cut, len(list.Sockets), err)
		}
	})
}

// TestAnErrorBeforeTheFirstPieceHasItsOwnStatus checks that nothing is sent before the buffer is full.
func TestAnErrorBeforeTheFirstPieceHasItsOwnStatus(t *testing.T) {
	w := httptest.NewRecorder()
	out := newLineWriter(w)
	if err := out.Encode(&api.SocketView{}); err != nil || out.isSent {
		t.Fatalf("sent: %v, %v", out.isSent, err)
	}
	if err := writeError(w, api.ErrStopped); err != nil || w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %s, %v", w.Code, w.Header().Get("Content-Type"), err)
	}
}
