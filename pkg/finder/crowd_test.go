// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
)

// The sockets of a network namespace that a finder of these tests sweeps among others, and of all in the kernel's set.
const (
	testCrowdLimit = 24
	testRoom       = 32
)

// eachSmallFinder runs a test for each finder with room for few sockets.
func eachSmallFinder(t *testing.T, test func(t *testing.T, f finder.Finder)) {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	c := finder.Config{Root: root, Clock: nstest.Clock(t), CPUBudget: 1, CrowdLimit: testCrowdLimit}
	t.Run(finder.NameSockDiag, func(t *testing.T) { test(t, finder.NewSockDiag(c)) })
	t.Run(finder.NameBPF, func(t *testing.T) {
		loader, err := finder.LoadPrograms(testRoom)
		if _, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
			nstest.NeedBPF(t, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := loader.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, finder.NewBPF(finder.BPFConfig{Config: c, Loader: loader, RetryPause: 100 * time.Millisecond}))
	})
}

func TestACrowdedNetnsIsSweptOnItsOwnUntilItsSocketsAreFewAgain(t *testing.T) {
	eachSmallFinder(t, func(t *testing.T, f finder.Finder) {
		busy, quiet := nstest.New(t), nstest.New(t)
		a, b := target(t, busy), target(t, quiet)
		few := halfClose(t, quiet, 2)
		r := newRecorder()
		start(t, f, r) <- []finder.Netns{a, b}
		r.await(t, "both are swept", func() bool { return r.shownBy(b.Identity, few) && r.sweepsOf(a.Identity) > 0 })
		if s := r.state(); len(s.Crowded) > 0 {
			t.Errorf("without many sockets its state is %+v", s)
		}

		var pairs []nstest.Pair
		var many []uint64
		for range testRoom {
			p := busy.Connect(t, nstest.IPv4)
			if err := p.Client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			pairs, many = append(pairs, p), append(many, cookieOf(t, p.Client), cookieOf(t, p.Server))
		}
		r.await(t, "the state names the network namespace", func() bool { return slices.Equal(r.state().Crowded, []netns.Identity{a.Identity}) })
		r.await(t, "a sweep shows all sockets of the crowded one", func() bool { return r.shownBy(a.Identity, many) })
		few = append(few, halfClose(t, quiet, 2)...)
		r.await(t, "a sweep shows all sockets of the other", func() bool { return r.shownBy(b.Identity, few) })
		if s := r.state(); s.Name != f.Name() {
			t.Errorf("the finder's state is %+v", s)
		}
		if n := r.sweepsOfAll(a.Identity, b.Identity); f.Name() == finder.NameSockDiag && n > 0 {
			t.Errorf("%d sweeps have both", n)
		}

		for _, p := range pairs[2:] {
			p.Client.Close()
			p.Server.Close()
		}
		r.await(t, "no network namespace is crowded", func() bool { return len(r.state().Crowded) == 0 })
		again := append(many[:4:4], halfClose(t, busy, 1)...)
		r.await(t, "sweeps show the sockets of both", func() bool { return r.shownBy(a.Identity, again) && r.shownBy(b.Identity, few) })
		if s := r.state(); s.Name != f.Name() || s.Why != "" {
			t.Errorf("at the end its state is %+v", s)
		}
		r.check(t)
	})
}

// TestACrowdedNetnsLeavesRoomInTheSetForTheOthers half-closes sockets beside a flood, before the finder reads the set. It
// expects the exact time of entry, which a sweep and a walk cannot report.
func TestACrowdedNetnsLeavesRoomInTheSetForTheOthers(t *testing.T) {
	eachSmallFinder(t, func(t *testing.T, f finder.Finder) {
		if f.Name() != finder.NameBPF {
			t.Skip("sock_diag has no set")
		}
		busy, quiet := nstest.New(t), nstest.New(t)
		a, b := target(t, busy), target(t, quiet)
		halfClose(t, quiet, 1) // so that walks cover it in any PID namespace
		for _, n := range []*finder.Netns{&a, &b} {
			n.Interval, n.Repair, n.Patience = time.Hour, time.Hour, time.Hour
		}
		r := newRecorder()
		start(t, f, r) <- []finder.Netns{a, b}
		r.await(t, "both are watched", func() bool { return r.sweepsOf(a.Identity) > 0 && r.sweepsOf(b.Identity) > 0 })
		exact := 0
		for try := 0; exact == 0 && try < 10; try++ { // the kernel does not call the program at each change
			halfClosed(t, busy, testRoom)
			cookies := halfClosed(t, quiet, 1)
			refresh(t, f)
			if !r.hasSeen(b.Identity, cookies...) {
				continue
			}
			exact = len(r.entriesOf(cookies))
		}
		if exact == 0 {
			t.Error("no socket of the other network namespace has a time of entry")
		}
		r.check(t)
	})
}

func TestFindEndsDuringTheSweepOfACrowd(t *testing.T) {
	eachSmallFinder(t, func(t *testing.T, f finder.Finder) {
		busy := nstest.New(t)
		n := target(t, busy)
		n.Interval = time.Millisecond
		many := halfClose(t, busy, testRoom)
		for range 20 {
			r := newRecorder()
			sets, end := startFind(t, f, r)
			sets <- []finder.Netns{n}
			r.await(t, "the network namespace is crowded", func() bool { return len(r.state().Crowded) == 1 })
			end()
			reports := r.reports()
			if time.Sleep(time.Millisecond); r.reports() != reports {
				t.Fatal("it reports after Find has returned")
			}
		}
		r := newRecorder()
		start(t, f, r) <- []finder.Netns{n}
		r.await(t, "another Find shows all", func() bool { return r.shownBy(n.Identity, many) })
	})
}
