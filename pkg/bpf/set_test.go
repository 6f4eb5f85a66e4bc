// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// byState returns the cookies of the sockets in the set.
func byState(set map[uint64]bpf.Socket) map[inetdiag.State]uint64 {
	found := make(map[inetdiag.State]uint64)
	for cookie, s := range set {
		found[s.State] = cookie
	}
	return found
}

func TestSetHasASocketFromTheMomentItIsHalfClosed(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newNetns(t)
		watch(t, p, at)
		pair := at.Connect(t, nstest.IPv4)
		if set := entries(t, p); len(set) != 0 {
			t.Errorf("an established connection is in the set: %v", set)
		}
		clock := nstest.Clock(t)
		before := clock.Now()
		at.halfClose(t, pair)
		after := clock.Now()
		set := entries(t, p)
		for _, s := range set {
			if s.Entered.Before(before) || after.Before(s.Entered) || s.At != s.Entered {
				t.Errorf("%v entered at %d, read at %d; it became half-closed between %d and %d", s.ID, s.Entered, s.At, before, after)
			}
		}
		return want(2, set)
	})
}

// want returns a failure unless the set has n sockets.
func want(n int, set map[uint64]bpf.Socket) string {
	if len(set) == n {
		return ""
	}
	return fmt.Sprintf("%d sockets in the set, want %d: %v", len(set), n, slices.Collect(maps.Keys(set)))
}

func TestASocketLeavesTheSetWhenItIsNotHalfClosedAnyMore(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, at testNetns, pair nstest.Pair) error{
		"its owner closes it": func(_ *testing.T, _ testNetns, pair nstest.Pair) error { return pair.Server.Close() },
		"both owners close": func(_ *testing.T, _ testNetns, pair nstest.Pair) error {
			return errors.Join(pair.Client.Close(), pair.Server.Close())
		},
		"a reset": func(_ *testing.T, _ testNetns, pair nstest.Pair) error {
			return errors.Join(pair.Server.SetLinger(0), pair.Server.Close())
		},
		"a destroy": func(t *testing.T, at testNetns, pair nstest.Pair) error {
			for _, s := range at.sockets(t) {
				if int(s.ID.Peer().Port()) != pair.Server.LocalAddr().(*net.TCPAddr).Port {
					continue
				}
				return at.diag.Destroy(s.ID)
			}
			return errors.New("not found")
		},
		"connect(AF_UNSPEC)": func(t *testing.T, _ testNetns, pair nstest.Pair) error {
			control(t, pair.Client, disconnect)
			control(t, pair.Server, disconnect)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, bpf.Options{})
			sometime(t, func(t *testing.T) string {
				at := newNetns(t)
				watch(t, p, at)
				staying, leaving := at.Connect(t, nstest.IPv4), at.Connect(t, nstest.IPv6)
				at.halfClose(t, staying)
				remaining := at.sockets(t)
				at.halfClose(t, leaving)
				if failure := want(4, entries(t, p)); failure != "" {
					return failure
				}
				if err := leave(t, at, leaving); err != nil {
					t.Fatal(err)
				}
				if !soon(func() bool { return len(entries(t, p)) == 2 }) {
					return want(2, entries(t, p))
				}
				for cookie := range remaining {
					if _, ok := entries(t, p)[cookie]; !ok {
						t.Errorf("socket %#x is still half-closed, and not in the set", cookie)
					}
				}
				return ""
			})
		})
	}
}

func TestOrphansAreNotInTheSet(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newNetns(t)
		watch(t, p, at)
		if err := at.Connect(t, nstest.IPv4).Client.Close(); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "FIN_WAIT2 without an owner", func() bool { return len(at.sockets(t)) == 2 })
		set := entries(t, p)
		if _, ok := byState(set)[inetdiag.FinWait2]; ok {
			t.Errorf("an orphan is in the set: %v", set)
		}
		return want(1, set) // the other end
	})
}

func TestSetHasSocketsOfWatchedNamespacesOnly(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		one, two, never := newNetns(t), newNetns(t), newNetns(t)
		watch(t, p, one, two)
		var failures []string
		expect := func(sockets map[uint64]int) {
			got := make(map[uint64]int)
			for _, s := range entries(t, p) {
				got[s.Netns]++
			}
			if diff := cmp.Diff(sockets, got); diff != "" {
				failures = append(failures, diff)
			}
			for netns := range got {
				if _, ok := sockets[netns]; !ok {
					t.Errorf("the set has sockets of netns %d, which is not watched", netns)
				}
			}
		}
		for _, at := range []testNetns{one, two, never} {
			at.halfClose(t, at.Connect(t, nstest.IPv4))
		}
		expect(map[uint64]int{one.cookie: 2, two.cookie: 2})
		watch(t, p, two)
		expect(map[uint64]int{two.cookie: 2})
		one.halfClose(t, one.Connect(t, nstest.IPv4))
		expect(map[uint64]int{two.cookie: 2})
		return strings.Join(failures, "")
	})
}

func TestWalkAddsMissingSocketsAndChangesNoEntry(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newNetns(t)
		at.halfClose(t, at.Connect(t, nstest.IPv4)) // not watched yet
		watch(t, p, at)
		late := at.sockets(t)
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		before := entries(t, p)
		walk(t, p)
		after := entries(t, p)
		if failure := want(4, after); failure != "" {
			t.Error(failure)
		}
		for cookie, s := range after {
			if _, unknown := late[cookie]; unknown && !s.Entered.IsZero() {
				t.Errorf("socket %#x has the time of entry %d, before its netns was watched", cookie, s.Entered)
			}
			if was, ok := before[cookie]; ok && was != s {
				t.Errorf("the walk changed %v to %v", was, s)
			}
		}
		return want(2, before)
	})
}

func TestAFullSetCountsTheOverflowAndTheWalkReportsAllSockets(t *testing.T) {
	p, at := load(t, bpf.Options{MaxSockets: 4}), newNetns(t)
	watch(t, p, at)
	for range 5 {
		at.halfClose(t, at.Connect(t, nstest.IPv4))
	}
	walked, set := walk(t, p), entries(t, p)
	health, err := p.Health()
	if err != nil {
		t.Fatal(err)
	}
	if len(set)+int(health.Overflow) < 10 || health.Overflow == 0 || health.Capacity != 4 {
		t.Errorf("10 sockets: %d in the set, %+v", len(set), health)
	}
	if len(walked) != 10 {
		t.Errorf("the walk reports %d sockets, want 10", len(walked))
	}
}

func TestForgetRemovesOnlyTheGivenSockets(t *testing.T) {
	p, at := load(t, bpf.Options{}), newNetns(t)
	watch(t, p, at)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	walk(t, p) // adds the sockets that the program missed
	cookie := byState(entries(t, p))[inetdiag.CloseWait]
	for range 2 {
		if err := p.Forget([]uint64{cookie}); err != nil {
			t.Fatal(err)
		}
	}
	if left := entries(t, p); len(left) != 1 || byState(left)[inetdiag.FinWait2] == 0 {
		t.Errorf("the set has %v", left)
	}
}

func TestASetLargerThanABatchIsReadWhole(t *testing.T) {
	const pairs = 700
	p, at := load(t, bpf.Options{}), newNetns(t)
	watch(t, p, at)
	l := at.Listen(t, nstest.IPv4)
	for range pairs {
		c := at.Dial(t, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Eventually(t, patience, "all half-closed", func() bool { return len(at.sockets(t)) == 2*pairs })
	walked, set := walk(t, p), entries(t, p) // the walk first: it adds the sockets that the program missed
	if len(walked) != 2*pairs || len(set) != 2*pairs {
		t.Errorf("%d sockets: the walk reports %d, the set has %d", 2*pairs, len(walked), len(set))
	}
}

func TestAnErrorOfVisitEndsTheReading(t *testing.T) {
	p, at := load(t, bpf.Options{}), newNetns(t)
	watch(t, p, at)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	walk(t, p) // adds the sockets that the program missed
	enough := errors.New("enough")
	for name, read := range map[string]func(*int) error{
		"entries":     func(n *int) error { return p.Entries(func(*bpf.Socket) error { *n++; return enough }) },
		"walk":        func(n *int) error { return p.Walk(func(*bpf.OwnedSocket) error { *n++; return enough }) },
		"descriptors": func(n *int) error { return p.Descriptors(func(*bpf.Descriptor) error { *n++; return enough }) },
	} {
		n := 0
		if err := read(&n); !errors.Is(err, enough) || n != 1 {
			t.Errorf("%s: %d calls of visit, returned %v", name, n, err)
		}
	}
}

// use returns what a network namespace uses of the set.
func use(t *testing.T, p *bpf.Programs, at testNetns) bpf.Usage {
	t.Helper()
	list, err := p.Usage()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(u bpf.Usage) bool { return u.Netns == at.cookie })
	if i < 0 {
		t.Fatalf("netns %d is not in %+v", at.cookie, list)
	}
	return list[i]
}

func TestANetnsWithTooManySocketsLeavesRoomForOthers(t *testing.T) {
	const capacity, share = 40, 32 // four fifths
	p, busy, quiet := load(t, bpf.Options{MaxSockets: capacity}), newNetns(t), newNetns(t)
	watch(t, p, busy, quiet)
	for range capacity {
		busy.halfClose(t, busy.Connect(t, nstest.IPv4))
	}
	walk(t, p) // adds the sockets that the program missed
	count := len(entries(t, p))
	if u := use(t, p, busy); count < share || count > share+1 || u.Sockets != uint64(count) || u.Refused == 0 {
		t.Errorf("of %d sockets the set has %d, want about %d; %+v", 2*capacity, count, share, u)
	}
	if u := use(t, p, busy); u.Refused != 0 {
		t.Errorf("refused sockets are counted again: %+v", u)
	}
	quiet.halfClose(t, quiet.Connect(t, nstest.IPv4))
	walk(t, p)
	if u := use(t, p, quiet); u.Sockets != 2 || u.Refused != 0 || len(entries(t, p)) != count+2 {
		t.Errorf("of the other's 2 sockets the set has %+v", u)
	}
	watch(t, p, quiet)
	for range share/2 - 2 {
		quiet.halfClose(t, quiet.Connect(t, nstest.IPv4))
	}
	walk(t, p)
	if u := use(t, p, quiet); u.Sockets != share-2 || u.Refused != 0 {
		t.Errorf("after the first left the set, the other's %d sockets fit as %+v", share-2, u)
	}
}

func TestTheUsageOfANetnsFallsAsItsSocketsLeaveTheSet(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newNetns(t)
		watch(t, p, at)
		for range 3 {
			pair := at.Connect(t, nstest.IPv4)
			at.halfClose(t, pair)
			if err := errors.Join(pair.Client.SetLinger(0), pair.Client.Close(), pair.Server.Close()); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, patience, "both ends gone", func() bool { return len(at.sockets(t)) == 0 })
		}
		if set, u := entries(t, p), use(t, p, at); int(u.Sockets) != len(set) || len(set) > 0 {
			return fmt.Sprintf("%d sockets in the set, %+v", len(set), u)
		}
		return ""
	})
}
