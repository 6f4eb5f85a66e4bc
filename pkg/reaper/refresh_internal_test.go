// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// slowFinder ends each refresh when the test lets it.
type slowFinder struct {
	finder.Finder
	refreshes atomic.Int32
	end       chan struct{}
}

func (f *slowFinder) Refresh(ctx context.Context) error {
	f.refreshes.Add(1)
	select {
	case <-f.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refreshing returns a reaper that is only asked to refresh, and its finder.
func refreshing(t *testing.T) (*Reaper, *slowFinder) {
	f := &slowFinder{end: make(chan struct{})}
	r := &Reaper{cfg: Config{Finder: f, Clock: monotime.Fake{}}, calls: make(chan func(*loop)), ended: make(chan struct{})}
	l := &loop{clock: monotime.Fake{}, registry: newRegistry()}
	first := l.clock.Now()
	for i := range 2 {
		ns := &registered{Netns: finder.Netns{Interval: time.Minute}, lastSweep: first.Add(-time.Duration(i+1) * 10 * time.Second)}
		ns.Identity.Inode = uint64(i + 1)
		l.registry.namespaces[ns.Identity] = ns
	}
	go func() {
		for {
			select {
			case call := <-r.calls:
				call(l)
			case <-r.ended:
				return
			}
		}
	}()
	t.Cleanup(func() { close(r.ended) })
	return r, f
}

func TestQuestionsAtTheSameTimeShareARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := refreshing(t)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if stale := r.Refresh(t.Context()); stale != 0 {
					t.Errorf("stale by %v", stale)
				}
			})
		}
		synctest.Wait()
		f.end <- struct{}{}
		all.Wait()
		if stale := r.Refresh(t.Context()); stale != 0 { // within refreshPause
			t.Errorf("stale by %v", stale)
		}
		if n := f.refreshes.Load(); n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
		time.Sleep(refreshPause)
		go func() { f.end <- struct{}{} }()
		if stale := r.Refresh(t.Context()); stale != 0 || f.refreshes.Load() != 2 {
			t.Errorf("stale by %v after %d reads", stale, f.refreshes.Load())
		}
	})
}

func TestASlowReadHoldsUpAnAnswerForASecondAndTheNextAnswersNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := refreshing(t)
		began := time.Now()
		if stale := r.Refresh(t.Context()); stale != 20*time.Second+maxRefreshWait || time.Since(began) != maxRefreshWait {
			t.Errorf("stale by %v after %v: want the age of the older sweep", stale, time.Since(began))
		}
		began = time.Now()
		if stale := r.Refresh(t.Context()); stale == 0 || time.Since(began) != 0 {
			t.Errorf("the next question waited for %v and is stale by %v", time.Since(began), stale)
		}
		f.end <- struct{}{}
		synctest.Wait()
		go func() { f.end <- struct{}{} }()
		if stale := r.Refresh(t.Context()); stale != 0 || f.refreshes.Load() != 2 {
			t.Errorf("after the slow read: stale by %v, %d reads", stale, f.refreshes.Load())
		}
	})
}

func TestACanceledQuestionDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := refreshing(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		r.Refresh(ctx)
		if time.Since(began) != 0 {
			t.Errorf("it waited for %v", time.Since(began))
		}
	})
}
