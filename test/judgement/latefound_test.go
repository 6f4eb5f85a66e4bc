// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

const (
	lateGrace  = 2 * time.Second
	latePolicy = `{"probeAfter": "never", "pendingGrace": "2s", "grace": "2s"}`
	// slowPolicy leaves time to see a socket before it is past its grace.
	slowPolicy = `{"probeAfter": "never", "pendingGrace": "20s", "grace": "20s"}`
)

// requested creates a connection whose client has sent a request and shut down its sending side, longer ago than the
// grace.
func (s *scene) requested() (nstest.Pair, time.Time) {
	s.t.Helper()
	p := s.accept()
	if _, err := p.Client.Write([]byte("request")); err != nil {
		s.t.Fatal(err)
	}
	s.shut(p.Client, p.Server)
	return p, time.Now()
}

// TestServerThatReadsBeforeTheFirstLookHasItsWholeGrace has a server that reads its request half a second before a
// reaper can find the socket.
func TestServerThatReadsBeforeTheFirstLookHasItsWholeGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		t.Run("before it is registered", func(t *testing.T) {
			t.Parallel()
			r, s := newReaper(t, finder), newScene(t)
			p, since := s.requested()
			elapsed(t, since, lateGrace)
			take(t, p.Server, int64(len("request")))
			elapsed(t, time.Now(), 500*time.Millisecond)
			known := time.Now()
			r.register(s.near, "server", latePolicy)
			wholeGrace(t, r.awaitEntry(p.Server, api.Destroyed), known)
		})
		t.Run("while the reaper is down", func(t *testing.T) {
			t.Parallel()
			r, s := newReaper(t, finder), newScene(t)
			r.register(s.near, "server", slowPolicy)
			p, since := s.requested()
			still, _ := s.requested()
			read := s.leftByClient()
			for _, c := range []nstest.Pair{p, still, read} {
				r.awaitKnown(c.Server)
			}
			r.stop()
			r.put(r.record(s.near, "server", latePolicy))
			elapsed(t, since, lateGrace)
			take(t, p.Server, int64(len("request")))
			elapsed(t, time.Now(), 500*time.Millisecond)
			known := time.Now()
			r.start()
			for _, other := range []nstest.Pair{still, read} { // which have made no progress since
				if e := r.awaitEntry(other.Server, api.Destroyed); time.Duration(e.Idle) < lateGrace {
					t.Errorf("%v was destroyed after it was idle for %v", e.Local, time.Duration(e.Idle))
				} else if took := e.Time.Sub(known); time.Duration(e.Idle) < took+250*time.Millisecond { // 500 ms idle before
					t.Errorf("%v had another grace: %v after the reaper started it counts as idle for %v", e.Local, took, time.Duration(e.Idle))
				}
			}
			wholeGrace(t, r.awaitEntry(p.Server, api.Destroyed), known)
		})
	})
}

// wholeGrace checks that a socket was destroyed no earlier than a grace after a moment.
func wholeGrace(t *testing.T, e api.Entry, since time.Time) {
	t.Helper()
	if took := e.Time.Sub(since); took < lateGrace || time.Duration(e.Idle) < lateGrace {
		t.Errorf("%v was destroyed %v after a reaper could look at it, idle for %v", e.Local, took, time.Duration(e.Idle))
	}
}
