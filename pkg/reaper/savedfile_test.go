// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// logTo has the reaper's log go to b as well.
func logTo(tb testing.TB, b *outputtest.Buffer) func(*reaper.Config) {
	return func(c *reaper.Config) { c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(tb.Output(), b), nil)) }
}

// TestInvalidSavedFileIsIgnored starts reapers with a changed copy of another reaper's file.
func TestInvalidSavedFileIsIgnored(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		first := newNode(t, finder, attentive)
		first.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
		cookie, truth := first.aged(t, ns)
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(first.store.CandidatesPath())
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte, at int, when monotime.Time) []byte {
			for e := reaper.SavedHeader; e+reaper.SavedEntry < len(b); e += reaper.SavedEntry {
				binary.NativeEndian.PutUint64(b[e+at:], uint64(when))
			}
			return reaper.SealSaved(b)
		}
		const warning = "ages restart from tcp_info"
		for name, tc := range map[string]struct {
			change func(b []byte) []byte // of a copy
			warns  bool
		}{
			"one of another boot":    {func(b []byte) []byte { b[reaper.SavedBootID] ^= 1; return reaper.SealSaved(b) }, false},
			"garbage":                {func([]byte) []byte { return []byte("hello") }, true},
			"an empty one":           {func([]byte) []byte { return nil }, true},
			"a truncated one":        {func(b []byte) []byte { return b[:len(b)-20] }, true},
			"one with a bit flipped": {func(b []byte) []byte { b[reaper.SavedHeader+reaper.SavedSince] ^= 1; return b }, true},
			"one with a look in the future": {func(b []byte) []byte {
				return put(b, reaper.SavedLast, first.clock.Now().Add(time.Hour))
			}, true},
			"one with an age that never began": {func(b []byte) []byte { return put(b, reaper.SavedSince, 0) }, true},
			"one whose look was before the half-close": {func(b []byte) []byte {
				return put(b, reaper.SavedSince, first.clock.Now())
			}, true},
			"none": {nil, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := offNode(t)
				n.clock = first.clock
				if tc.change != nil {
					if err := os.WriteFile(n.store.CandidatesPath(), tc.change(append([]byte(nil), file...)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var log outputtest.Buffer
				n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
				n.start(finder, attentive, logTo(t, &log))
				provenOnly(t, n.awaitConfirmed(cookie), truth)
				if got := strings.Count(log.String(), warning); got != map[bool]int{true: 1}[tc.warns] {
					t.Errorf("%d warnings, want %v:\n%s", got, tc.warns, log.String())
				}
			})
		}
		t.Run("but the file itself is", func(t *testing.T) {
			t.Parallel()
			n := offNode(t)
			n.clock = first.clock
			if err := os.WriteFile(n.store.CandidatesPath(), file, 0o600); err != nil {
				t.Fatal(err)
			}
			n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
			n.start(finder, attentive)
			if got := n.awaitConfirmed(cookie); !got.couldBe(truth) {
				t.Errorf("half-closed since %v, %v before", got, truth)
			}
		})
	})
}
