// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// TestNextReaperRestoresTheQuestionsAndAgesOfAKilledOne kills a reaper while it waits for the answers of 200
// unreachable peers. The next reaper observes, so it does not ask.
func TestNextReaperRestoresTheQuestionsAndAgesOfAKilledOne(t *testing.T) {
	const questions, closedWhileDown = 200, 50
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "client", `{"probeAfter": "1s", "probeCount": 60}`) // no question ends before the last begins
		var (
			conns  []*net.TCPConn
			before [questions][5]int
			saved  []uint64
		)
		for i := range questions {
			p := s.connect()
			control(t, p.Client, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 100+i) })
			conns, before[i], saved = append(conns, p.Client), options(t, p.Client), append(saved, cookieOf(t, p.Client))
			if err := p.Server.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		awaitState(t, closeWait, conns...)
		s.near.SetLink(t, nstest.LinkName, false)
		r.awaitSaved(saved...)
		nstest.Eventually(t, patience, "200 questions are out", func() bool {
			for _, c := range conns {
				if options(t, c)[0] == 0 {
					return false
				}
			}
			return true
		})
		ages, at := r.ages(), time.Now()
		r.kill()
		for _, c := range conns[:closedWhileDown] {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r.start("--mode", "observe")
		for i, c := range conns[closedWhileDown:] {
			want := before[closedWhileDown+i]
			nstest.Eventually(t, patience, "its options are as they were", func() bool { return options(t, c) == want })
		}
		r.awaitKnown(conns[questions-1])
		now, passed := r.ages(), time.Since(at)
		for i, c := range saved[closedWhileDown:] {
			// A tick of the kernel's clock is 10 ms at most.
			if got, ok := now[c]; !ok || got < ages[c]+passed-time.Second {
				t.Errorf("connection %d has been idle for %v, and %v earlier for %v", i, got, passed, ages[c])
			}
		}
		r.untouched(closeWait, conns[closedWhileDown:]...)
	})
}

// ages returns how long the sockets have been idle, by their cookies.
func (r *reaper) ages() map[uint64]time.Duration {
	r.t.Helper()
	ages := make(map[uint64]time.Duration)
	for _, v := range r.views() {
		if v.Idle != nil {
			ages[v.Cookie] = time.Duration(*v.Idle)
		}
	}
	return ages
}
