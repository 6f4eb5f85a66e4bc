// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// patience is the timeout of waits.
const patience = 30 * time.Second

// recorder is a sink that keeps the reports, and violations of the contract of Sink.
type recorder struct {
	active   atomic.Bool // during a report
	paid     bool        // since the last Swept or Failed there was a Cost
	mu       sync.Mutex
	broken   []string
	states   []finder.State
	seen     map[netns.Identity]map[uint64]monotime.Time // when each cookie was last seen
	entered  map[uint64]monotime.Time                    // when each cookie became half-closed, if reported
	roles    map[uint64]policy.Role                      // the first known role of each cookie
	lastRole map[uint64]policy.Role                      // the last reported role of each cookie
	sweeps   []finder.Sweep
	failures map[netns.Identity]error
	cost     finder.Cost
}

func newRecorder() *recorder {
	return &recorder{
		seen: make(map[netns.Identity]map[uint64]monotime.Time), entered: make(map[uint64]monotime.Time),
		roles: make(map[uint64]policy.Role), lastRole: make(map[uint64]policy.Role), failures: make(map[netns.Identity]error),
	}
}

// enter locks the recorder for one report.
func (r *recorder) enter(kind string) (leave func()) {
	if r.active.Swap(true) {
		panic("two reports at a time")
	}
	r.mu.Lock()
	if len(r.states) == 0 && kind != "State" {
		r.broken = append(r.broken, kind+" came before the first State")
	}
	return func() { r.mu.Unlock(); r.active.Store(false) }
}

func (r *recorder) Seen(batch []finder.Seen) {
	defer r.enter("Seen")()
	if len(batch) == 0 {
		r.broken = append(r.broken, "Seen without sockets")
	}
	for _, s := range batch {
		if r.seen[s.Netns] == nil {
			r.seen[s.Netns] = make(map[uint64]monotime.Time)
		}
		r.seen[s.Netns][s.Socket.ID.Cookie()] = s.At
		cookie := s.Socket.ID.Cookie()
		if first := r.roles[cookie]; first == policy.RoleUnknown {
			r.roles[cookie] = s.Role
		} else if s.Role != first && s.Role != policy.RoleUnknown {
			r.broken = append(r.broken, "Seen of a socket with two roles")
		}
		r.lastRole[cookie] = s.Role
		if !s.Entered.IsZero() {
			r.entered[s.Socket.ID.Cookie()] = s.Entered
		}
		if !s.Socket.State.HalfClosed() || s.At.IsZero() || s.At.Before(s.Asked) {
			r.broken = append(r.broken, "Seen of a socket that is not half-closed, or at no time")
		}
	}
	clear(batch) // the finder reuses it and must not rely on its content
}

// endRead requires a Cost before a Swept or a Failed.
func (r *recorder) endRead(kind string) {
	if !r.paid {
		r.broken = append(r.broken, kind+" came without a Cost before it")
	}
	r.paid = false
}

func (r *recorder) Swept(sweep finder.Sweep) {
	defer r.enter("Swept")()
	r.endRead("Swept")
	if len(sweep.Netns) == 0 || sweep.Began.IsZero() {
		r.broken = append(r.broken, "Swept without network namespaces or without a time")
	}
	sweep.Netns = slices.Clone(sweep.Netns)
	r.sweeps = append(r.sweeps, sweep)
}

func (r *recorder) Failed(id netns.Identity, err error) {
	defer r.enter("Failed")()
	r.endRead("Failed")
	r.failures[id] = err
}

func (r *recorder) Cost(cost finder.Cost) {
	defer r.enter("Cost")()
	r.paid = true
	r.cost.CPU += cost.CPU
	r.cost.Missed += cost.Missed
}

func (r *recorder) State(state finder.State) {
	defer r.enter("State")()
	r.states = append(r.states, state)
}

// state returns the last state.
func (r *recorder) state() (last finder.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.states); n > 0 {
		last = r.states[n-1]
	}
	return last
}

func (r *recorder) failure(id netns.Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures[id]
}

// sweepsOf counts the sweeps of a network namespace.
func (r *recorder) sweepsOf(id netns.Identity) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sweeps {
		if slices.Contains(s.Netns, id) {
			n++
		}
	}
	return n
}

// sweepsOfAll counts the sweeps of all these network namespaces together.
func (r *recorder) sweepsOfAll(ids ...netns.Identity) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sweeps {
		if !slices.ContainsFunc(ids, func(id netns.Identity) bool { return !slices.Contains(s.Netns, id) }) {
			n++
		}
	}
	return n
}

// shownBy reports whether each of the cookies was reported between the start of the network namespace's last sweep and its
// Swept.
func (r *recorder) shownBy(id netns.Identity, cookies []uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.sweeps) {
		if slices.Contains(s.Netns, id) {
			return !slices.ContainsFunc(cookies, func(c uint64) bool {
				at, ok := r.seen[id][c]
				return !ok || at.Before(s.Began)
			})
		}
	}
	return false
}

// entriesOf returns the reported times of entry of the cookies.
func (r *recorder) entriesOf(cookies []uint64) map[uint64]monotime.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := maps.Clone(r.entered)
	maps.DeleteFunc(entries, func(c uint64, _ monotime.Time) bool { return !slices.Contains(cookies, c) })
	return entries
}

// reports counts the network namespaces with a Seen, the sweeps, and the network namespaces with a Failed.
func (r *recorder) reports() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen) + len(r.sweeps) + len(r.failures)
}

// await waits until the claim is true.
func (r *recorder) await(t *testing.T, claim string, isSo func() bool) {
	t.Helper()
	nstest.Eventually(t, patience, claim, isSo)
}

// check fails the test for each violation of the contract.
func (r *recorder) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.broken {
		t.Error(b)
	}
	if r.cost.CPU <= 0 {
		t.Error("no CPU time was reported")
	}
}

// role returns the first known role, and the last reported one.
func (r *recorder) role(cookie uint64) (first, last policy.Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roles[cookie], r.lastRole[cookie]
}

// hasSeen reports whether each of the cookies was reported.
func (r *recorder) hasSeen(id netns.Identity, cookies ...uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(cookies, func(c uint64) bool { return r.seen[id][c].IsZero() })
}
