// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// fallback is a period in which sock_diag replaces the programs.
type fallback struct {
	why   string        // the cause
	retry monotime.Time // of the programs
}

// The bounds of the time between a fallback and the attempt to recover. It doubles with each fallback, and starts
// again at the minimum once the programs have worked for the maximum.
const (
	minRetryPause = 10 * time.Second
	maxRetryPause = 10 * time.Minute
)

// fallBack replaces the programs by sock_diag at once.
func (f *BPF) fallBack(now monotime.Time, format string, args ...any) {
	pause := f.minPause
	if now.Sub(f.recoveredAt) < maxRetryPause {
		pause = min(2*f.retryPause, maxRetryPause)
	}
	f.retryPause = max(pause, f.minPause)
	f.fallback = &fallback{why: fmt.Sprintf(format, args...), retry: now.Add(f.retryPause)}
	f.assign()
}

// recover reloads the programs, with an empty set, and switches back to them if a walk succeeds.
func (f *BPF) recover(ctx context.Context, now monotime.Time) {
	if err := f.loader.Reload(); err != nil {
		f.fallback.why = err.Error()
		f.fallback.retry = now.Add(f.retryPause)
		return
	}
	for _, s := range f.states {
		s.readUntil, s.firstWalk = 0, 0
	}
	f.fallback, f.recoveredAt, f.nextWalk, f.overflow = nil, now, now, 0
	f.watchTargets(now)
	if f.fallback == nil {
		f.walk(ctx, now)
	}
	if f.fallback == nil && f.checkHealth(now) {
		f.assign()
	}
}

// checkHealth reports whether the programs are loaded and the network namespaces' sockets fit into their set. If the programs
// fail, it falls back. If sockets do not fit, it removes the network namespaces with the most.
func (f *BPF) checkHealth(now monotime.Time) bool {
	h, err := f.loader.Health()
	if err != nil {
		f.fallBack(now, "read the health of the BPF programs: %v", err)
		return false
	}
	f.capacity = h.Capacity
	if h.Skipped != f.skipped {
		f.skipped, f.nextWalk = h.Skipped, min(f.nextWalk, now)
	}
	if h.Overflow != f.overflow {
		f.overflow = h.Overflow
		if err := f.spillOver(now); err != nil {
			f.fallBack(now, "make room in the kernel's set of half-closed sockets: %v", err)
		}
	}
	return f.fallback == nil
}

// processDelay is the time after its registration in which a container may have no process.
const processDelay = 10 * time.Second

// hiddenReason returns why sock_diag sweeps some network namespaces, "" if it sweeps none for that reason.
func (f *BPF) hiddenReason(now monotime.Time) string {
	hidden := 0
	for _, s := range f.states {
		if !f.visibility.covers(s.Identity) && now.Sub(s.addedAt) > processDelay {
			hidden++
		}
	}
	if hidden == 0 {
		return ""
	}
	return fmt.Sprintf("no process of %d of %d network namespaces is visible from the reaper's PID namespace (needs hostPID: true, --pid=host): sock_diag sweeps them",
		hidden, len(f.states))
}

// reportState reports how the finder works, if that has changed.
func (f *BPF) reportState() {
	s := State{Name: NameBPF, Known: f.known, Room: f.capacity}
	if f.fallback != nil {
		s = State{Name: NameSockDiag, Why: f.fallback.why}
	} else {
		s.Why = joinReasons(f.hiddenReason(f.clock.Now()), f.spillReason())
	}
	s.Crowded = f.crowd.list()
	if !s.equal(&f.reported) {
		f.reported = s
		f.sink.State(s)
	}
}
