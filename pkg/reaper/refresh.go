// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"sync"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// The pace of reads for questions. The finder's CPU budget bounds their cost.
const (
	maxRefreshWait = time.Second           // of a question for the finder
	refreshPause   = 50 * time.Millisecond // between the beginnings of two reads
)

// refresher has the finder read its network namespaces for questions. Questions at the same time share a read.
type refresher struct {
	mu      sync.Mutex
	current *refreshRead
	last    monotime.Time // when the last complete read began; zero: none has ended
}

// refreshRead is a read that has not ended.
type refreshRead struct {
	began monotime.Time
	ended chan struct{}
}

// Refresh has the finder read its network namespaces, so that answers show the sockets that are half-closed now. With long
// patiences it reads them once a minute otherwise. Refresh waits for at most a second, and for questions that come at the
// same time the finder reads once. It returns how old the known sockets of a network namespace may be: 0 if all are read,
// more if the finder's CPU budget is spent or its sink is blocked.
//
// A socket of which the kernel has sent the bpf finder no event is found by its next walk, within a minute.
func (r *Reaper) Refresh(ctx context.Context) (stale time.Duration) {
	read := r.startRefresh() //nolint:contextcheck // questions share the read: it outlives ctx
	if read == nil {
		return 0
	}
	timeout := time.NewTimer(maxRefreshWait - r.cfg.Clock.Now().Sub(read.began))
	defer timeout.Stop()
	select {
	case <-read.ended:
		return 0
	case <-timeout.C: // at once if another question has waited for it
	case <-ctx.Done():
	case <-r.ended:
	}
	return r.staleness(ctx)
}

// startRefresh returns the current read, which it starts if there is none; nil if one has begun just now and ended.
func (r *Reaper) startRefresh() *refreshRead {
	f := &r.refresher
	f.mu.Lock()
	defer f.mu.Unlock()
	now := r.cfg.Clock.Now()
	switch {
	case f.current != nil:
		return f.current
	case !f.last.IsZero() && now.Sub(f.last) < refreshPause:
		return nil
	}
	read := &refreshRead{began: now, ended: make(chan struct{})}
	f.current = read
	go func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-r.ended:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := r.cfg.Finder.Refresh(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.current = nil
		if err == nil {
			f.last = read.began
			close(read.ended)
		}
	}()
	return read
}

// staleness returns the time since the oldest of the last complete reads of the network namespaces.
func (r *Reaper) staleness(ctx context.Context) (stale time.Duration) {
	r.refresher.mu.Lock()
	last := r.refresher.last
	r.refresher.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, maxRefreshWait)
	defer cancel()
	_ = r.read(ctx, func(l *loop) { // if the loop does not answer this, it does not answer the question either
		now := l.clock.Now()
		for _, ns := range l.registry.namespaces {
			if ns.isSwept() {
				stale = max(stale, now.Sub(max(last, ns.lastSweep, ns.registeredAt)))
			}
		}
	})
	return stale
}
