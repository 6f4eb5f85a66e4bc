// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// refreshes passes requests for a read now from Refresh to Find.
type refreshes struct {
	requests chan chan<- struct{}
	waiting  []chan<- struct{} // for the current read; Find owns it
}

func newRefreshes() refreshes { return refreshes{requests: make(chan chan<- struct{})} }

// Refresh implements Finder.
func (r *refreshes) Refresh(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case r.requests <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add adds a request. A read that has begun before does not serve it.
func (r *refreshes) add(done chan<- struct{}) { r.waiting = append(r.waiting, done) }

// finish reports the end of a read to all requests.
func (r *refreshes) finish() {
	for _, done := range r.waiting {
		close(done)
	}
	r.waiting = nil
}

// requestAll requests a sweep of each network namespace from a moment on, for as long as the pacer has CPU time to spare.
func (s *sweeper) requestAll(at monotime.Time) {
	s.requestedAt, s.requested = at, s.requested[:0]
	entries := make([]*sweepEntry, 0, len(s.queue.byID))
	for _, e := range s.queue.byID {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *sweepEntry) int { return cmp.Compare(a.due, b.due) })
	for _, e := range entries {
		s.requested = append(s.requested, e.netns.Identity)
	}
}

// cancelRequests forgets the requested sweeps.
func (s *sweeper) cancelRequests() { s.requested = s.requested[:0] }

// nextRequested returns the first network namespace whose requested sweep has not begun, nil if there is none.
func (s *sweeper) nextRequested() *sweepEntry {
	for ; len(s.requested) > 0; s.requested = s.requested[1:] {
		if e := s.queue.byID[s.requested[0]]; e != nil && e.began.Before(s.requestedAt) {
			return e
		}
	}
	return nil
}

// isRefreshed reports whether every requested sweep has begun, and with that ended.
func (s *sweeper) isRefreshed() bool { return s.nextRequested() == nil }

// startRefresh begins the read that a request asks for.
func (f *BPF) startRefresh(done chan<- struct{}, now monotime.Time) {
	f.add(done)
	f.refreshSet = f.fallback == nil && len(f.states) > 0
	f.sweeps.requestAll(now)
	f.crowd.requestAll(now)
}

// refreshNext reads the set for a request, if the pacer has CPU time to spare. It answers the requests once everything
// has been read.
func (f *BPF) refreshNext(now monotime.Time) {
	if len(f.waiting) == 0 {
		return
	}
	if f.refreshSet && f.fallback == nil && f.waitSpareRead(now) == 0 {
		f.readSet(now)
		f.refreshSet = f.fallback != nil
	}
	if f.refreshSet && f.fallback != nil { // sweeps replace the set
		f.refreshSet = false
		f.sweeps.requestAll(f.sweeps.requestedAt)
		f.crowd.requestAll(f.sweeps.requestedAt)
	}
	if !f.refreshSet && f.sweeps.isRefreshed() && f.crowd.isRefreshed() {
		f.finish()
	}
}

// cancelRefresh leaves the requests of an earlier Find unanswered.
func (f *BPF) cancelRefresh() {
	f.waiting, f.refreshSet = nil, false
	f.sweeps.cancelRequests()
	f.crowd.cancelRequests()
}

// waitSpareRead returns the time until there is CPU time to spare for a read of the set.
func (f *BPF) waitSpareRead(now monotime.Time) time.Duration {
	return max(f.pacer.WaitSpare(now, f.readCost), f.reads.WaitSpare(now, f.readCost))
}
