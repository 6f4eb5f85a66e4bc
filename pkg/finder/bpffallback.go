// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// fall is why sock_diag does the programs' work, and until when at least.
type fall struct {
	why   string
	retry monotime.Time
}

// How long the programs do nothing once they fell: longer each time, unless they had worked for long.
const (
	shortestFall = 10 * time.Second
	longestFall  = 10 * time.Minute
)

// fall lets sock_diag do all the work, at once.
func (f *BPF) fall(now monotime.Time, format string, args ...any) {
	pause := shortestFall
	if now.Sub(f.rose) < longestFall {
		pause = min(2*f.pause, longestFall)
	}
	f.pause = max(pause, shortestFall)
	f.fallen = &fall{why: fmt.Sprintf(format, args...), retry: now.Add(f.pause)}
	f.divide()
}

// rise loads the programs anew, with nothing in their set, and lets them do their work if they can. What happened
// meanwhile a walk finds.
func (f *BPF) rise(ctx context.Context, now monotime.Time) {
	if err := f.kernel.load(); err != nil {
		f.fallen.why = err.Error()
		f.fallen.retry = now.Add(f.pause)
		return
	}
	for _, w := range f.watched {
		w.read, w.walked = 0, 0
	}
	f.fallen, f.rose, f.walk = nil, now, now
	f.watch(now)
	if f.fallen == nil {
		f.walkAll(ctx, now)
	}
	if f.fallen == nil && f.healthy(now) {
		f.divide()
	}
}

// healthy looks whether the programs are there, and their set has had room for everything.
func (f *BPF) healthy(now monotime.Time) bool {
	h, err := f.kernel.health()
	if err != nil {
		f.fall(now, "ask how the programs are: %v", err)
		return false
	}
	f.room = h.Capacity
	if h.Skipped != f.skipped {
		f.skipped, f.walk = h.Skipped, min(f.walk, now)
	}
	if h.Overflow > 0 {
		f.fall(now, "the kernel's set of half-closed sockets has room for %d and is full: raise --bpf-sockets", h.Capacity)
		return false
	}
	return true
}

// settled is how long after its registration a container should have a process.
const settled = 10 * time.Second

// unseenWhy says why sock_diag does a part of the work, "" if it does not.
func (f *BPF) unseenWhy(now monotime.Time) string {
	if f.sight.all {
		return ""
	}
	unseen := 0
	for _, w := range f.watched {
		if !f.sight.sees(w.Identity) && now.Sub(w.since) > settled {
			unseen++
		}
	}
	if unseen == 0 {
		return ""
	}
	return fmt.Sprintf("of %d of %d namespaces no process is to be seen from the reaper's pid namespace (hostPID: true, --pid=host): sock_diag sweeps them",
		unseen, len(f.watched))
}

// tell says how the finder works, where that has changed.
func (f *BPF) tell() {
	s := FinderState{Name: f.Name(), Known: f.sockets, Room: f.room, Why: f.unseenWhy(monotime.Now())}
	if f.fallen != nil {
		s = FinderState{Name: f.sweep.Name(), Why: f.fallen.why}
	}
	if s != f.said {
		f.said = s
		f.found(Finding{State: &s})
	}
}
