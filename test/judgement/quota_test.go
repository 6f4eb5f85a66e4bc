// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// TestUnderACPUQuotaNoSendIsFollowedByADestroy has 2,000 owners that each send at a random moment around their
// deadline. The reaper gets 4 ms of CPU time in 100 ms, so it may be stopped between the look at a socket and the
// destroy.
func TestUnderACPUQuotaNoSendIsFollowedByADestroy(t *testing.T) {
	const (
		owners  = 2000
		grace   = 2 * time.Second
		usual   = time.Millisecond       // the age that a look may have when its destroy is sent
		largest = 100 * time.Millisecond // the age after many useless looks, which the reaper logs as a warning
	)
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder, "--log-level", "debug"), newScene(t)
		r.register(s.near, "pod", `{"probeAfter": "never", "grace": "2s"}`)
		pairs := make([]nstest.Pair, owners)
		for i := range pairs {
			pairs[i] = s.connect()
		}
		nstest.NewQuota(t, 4*time.Millisecond, 100*time.Millisecond).Add(t, r.cmd.Process.Pid)
		clock := nstest.Clock(t)
		var sent [owners]monotime.Time // when the owner's send returned; zero if it failed
		var sending sync.WaitGroup
		for i, p := range pairs {
			if err := p.Server.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			sending.Add(1)
			moment := grace - 500*time.Millisecond + time.Duration(rand.Int64N(int64(3*time.Second)))
			time.AfterFunc(moment, func() {
				defer sending.Done()
				if _, err := p.Client.Write([]byte("x")); err == nil {
					sent[i] = clock.Now()
				}
			})
		}
		sending.Wait()
		nstest.Eventually(t, patience, "a quarter of them is destroyed", func() bool {
			return r.status().Counts.Destroyed[inetdiag.CloseWait] >= owners/4
		})
		tooOld := r.status().Counts.LooksTooOld
		destroys := r.destroys()
		if len(destroys) == 0 {
			t.Fatal("the log has no destroy with its look")
		}
		bound := usual
		if len(r.logged("between a look at a socket and its destroy")) > 0 {
			bound = largest
		}
		spared, oldest := 0, time.Duration(0)
		for i, p := range pairs {
			d, destroyed := destroys[cookieOf(t, p.Client)]
			switch {
			case !destroyed:
				spared++
			case d.sent.Sub(d.looked) > bound:
				t.Errorf("owner %d: the destroy was sent %v after its look, want at most %v", i, d.sent.Sub(d.looked), bound)
			case !sent[i].IsZero() && sent[i].Before(d.looked) && d.looked.Sub(sent[i]) < grace:
				t.Errorf("owner %d: its send returned %v before the look, and it was destroyed", i, d.looked.Sub(sent[i]))
			}
			oldest = max(oldest, d.sent.Sub(d.looked))
		}
		t.Logf("%d destroyed, %d not; the oldest look was %v old, %d were too old", len(destroys), spared, oldest, tooOld)
	})
}

// destroy has the times of the reaper's last look at a socket and of its destroy.
type destroy struct{ looked, sent monotime.Time }

// destroys returns the destroys in the log, by the sockets' cookies.
func (r *reaper) destroys() map[uint64]destroy {
	r.t.Helper()
	all := make(map[uint64]destroy)
	for _, line := range r.logged(`msg="destroy sent"`) {
		_, fields, _ := strings.Cut(line, `msg="destroy sent" `)
		var cookie uint64
		var looked, sent int64
		if _, err := fmt.Sscanf(fields, "cookie=%d looked=%d sent=%d", &cookie, &looked, &sent); err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		all[cookie] = destroy{monotime.Time(looked), monotime.Time(sent)}
	}
	return all
}
