// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
)

// start runs a finder until the test ends, and returns the channel for its sets.
func start(t *testing.T, f finder.Finder, sink finder.Sink) (targets chan<- []finder.Netns) {
	t.Helper()
	targets, _ = startFind(t, f, sink)
	return targets
}

// startFind is start, and also returns a function that ends Find.
func startFind(t *testing.T, f finder.Finder, sink finder.Sink) (targets chan<- []finder.Netns, end func()) {
	t.Helper()
	sets := make(chan []finder.Netns)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Find(ctx, sets, sink) }()
	end = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Find returned %v", err)
		}
	})
	t.Cleanup(end)
	return sets, end
}

func TestAFakeReportsWhatTheTestReports(t *testing.T) {
	f, r := finder.NewFake("fake", nil), newRecorder()
	start(t, f, r)
	id := netns.Identity{Inode: 7}
	err := f.Report(t.Context(), func(s finder.Sink) { s.Failed(id, errors.New("broken")) })
	if err != nil {
		t.Fatal(err)
	}
	if got := r.failure(id); got == nil || got.Error() != "broken" {
		t.Errorf("the sink received %v", got)
	}
	if got := r.state(); got.Name != "fake" || f.Name() != "fake" {
		t.Errorf("its state is %+v", got)
	}
}

func TestAFakeCallsOnSetWithEachSet(t *testing.T) {
	r := newRecorder()
	f := finder.NewFake("fake", func(set []finder.Netns, s finder.Sink) {
		for _, n := range set {
			s.Swept(finder.Sweep{Netns: []netns.Identity{n.Identity}, Began: 1})
		}
	})
	sets := start(t, f, r)
	one, two := netns.Identity{Inode: 1}, netns.Identity{Inode: 2}
	sets <- []finder.Netns{{Identity: one}}
	sets <- []finder.Netns{{Identity: two}}
	if _, err := f.Await(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	r.await(t, "both sets were swept", func() bool { return r.sweepsOf(one) == 1 && r.sweepsOf(two) == 1 })
}

func TestAwaitReturnsTheNetnsOnceItIsInTheSet(t *testing.T) {
	f := finder.NewFake("fake", nil)
	sets := start(t, f, newRecorder())
	want := finder.Netns{Identity: netns.Identity{Inode: 2}, Paths: []string{"/two"}}
	go func() {
		sets <- []finder.Netns{{Identity: netns.Identity{Inode: 1}}}
		sets <- []finder.Netns{want}
	}()
	got, err := f.Await(t.Context(), want.Identity)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAFakeForgetsTheSetOfAnEarlierFind(t *testing.T) {
	f, n := finder.NewFake("fake", nil), finder.Netns{Identity: netns.Identity{Inode: 1}}
	sets, end := startFind(t, f, newRecorder())
	sets <- []finder.Netns{n}
	if _, err := f.Await(t.Context(), n.Identity); err != nil {
		t.Fatal(err)
	}
	end()
	start(t, f, newRecorder())
	if err := f.Report(t.Context(), func(finder.Sink) {}); err != nil { // Find runs now
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Await(ctx, n.Identity); !errors.Is(err, context.Canceled) {
		t.Errorf("Await returned %v", err)
	}
}

func TestAFakeWithoutFindReturnsTheErrorOfTheContext(t *testing.T) {
	f := finder.NewFake("fake", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Report(ctx, func(finder.Sink) { t.Error("fn was called") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Report returned %v", err)
	}
	if _, err := f.Await(ctx, netns.Identity{Inode: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Await returned %v", err)
	}
}

func TestWrappedChangesACopyOfTheTargets(t *testing.T) {
	fake := finder.NewFake("fake", nil)
	counted := 0
	sets := start(t, finder.Wrapped{
		Finder: fake,
		Target: func(n *finder.Netns) { n.Interval = 42 },
		Sink:   func(s finder.Sink) finder.Sink { return &sweepCounter{s, &counted} },
	}, newRecorder())
	mine := []finder.Netns{{Identity: netns.Identity{Inode: 1}}}
	sets <- mine
	n, err := fake.Await(t.Context(), mine[0].Identity)
	if err != nil {
		t.Fatal(err)
	}
	if n.Interval != 42 || mine[0].Interval != 0 {
		t.Errorf("the interval is %v, the sender has %v", n.Interval, mine[0].Interval)
	}
	err = fake.Report(t.Context(), func(s finder.Sink) { s.Swept(finder.Sweep{Netns: []netns.Identity{n.Identity}}) })
	if err != nil || counted != 1 {
		t.Errorf("%d sweeps passed the changed sink: %v", counted, err)
	}
}

type sweepCounter struct {
	finder.Sink
	count *int
}

func (c *sweepCounter) Swept(s finder.Sweep) { *c.count++; c.Sink.Swept(s) }
