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

// byState are the cookies of the set's sockets.
func byState(set map[uint64]bpf.Socket) map[inetdiag.State]uint64 {
	found := make(map[inetdiag.State]uint64)
	for cookie, s := range set {
		found[s.State] = cookie
	}
	return found
}

func TestASocketIsInTheSetFromTheMomentItIsHalfClosed(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newPlace(t)
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
				t.Errorf("%v entered at %d, seen at %d; it was half-closed from %d to %d", s.ID, s.Entered, s.At, before, after)
			}
		}
		return want(2, set)
	})
}

// want complains where the set has not so many sockets.
func want(n int, set map[uint64]bpf.Socket) string {
	if len(set) == n {
		return ""
	}
	return fmt.Sprintf("%d sockets in the set, want %d: %v", len(set), n, slices.Collect(maps.Keys(set)))
}

func TestASocketLeavesTheSetAsItLeavesItsState(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, at place, pair nstest.Pair) error{
		"its owner closes it": func(_ *testing.T, _ place, pair nstest.Pair) error { return pair.Server.Close() },
		"both owners close": func(_ *testing.T, _ place, pair nstest.Pair) error {
			return errors.Join(pair.Client.Close(), pair.Server.Close())
		},
		"a reset": func(_ *testing.T, _ place, pair nstest.Pair) error {
			return errors.Join(pair.Server.SetLinger(0), pair.Server.Close())
		},
		"a destroy": func(t *testing.T, at place, pair nstest.Pair) error {
			for _, s := range at.sockets(t) {
				if int(s.ID.Peer().Port()) != pair.Server.LocalAddr().(*net.TCPAddr).Port {
					continue
				}
				return at.diag.Destroy(s.ID)
			}
			return errors.New("not found")
		},
		"connect(AF_UNSPEC)": func(t *testing.T, _ place, pair nstest.Pair) error {
			control(t, pair.Client, disconnect)
			control(t, pair.Server, disconnect)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, bpf.Options{})
			sometime(t, func(t *testing.T) string {
				at := newPlace(t)
				watch(t, p, at)
				stays, goes := at.Connect(t, nstest.IPv4), at.Connect(t, nstest.IPv6)
				at.halfClose(t, stays)
				left := at.sockets(t)
				at.halfClose(t, goes)
				if complaint := want(4, entries(t, p)); complaint != "" {
					return complaint
				}
				if err := leave(t, at, goes); err != nil {
					t.Fatal(err)
				}
				if !soon(func() bool { return len(entries(t, p)) == 2 }) {
					return want(2, entries(t, p))
				}
				for cookie := range left {
					if _, ok := entries(t, p)[cookie]; !ok {
						t.Errorf("socket %#x stays half-closed and left the set", cookie)
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
		at := newPlace(t)
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

func TestOnlyWatchedNamespacesAreInTheSet(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		one, two, never := newPlace(t), newPlace(t), newPlace(t)
		watch(t, p, one, two)
		var complaints []string
		expect := func(sockets map[uint64]int) {
			got := make(map[uint64]int)
			for _, s := range entries(t, p) {
				got[s.Netns]++
			}
			if diff := cmp.Diff(sockets, got); diff != "" {
				complaints = append(complaints, diff)
			}
			for netns := range got {
				if _, ok := sockets[netns]; !ok {
					t.Errorf("sockets of netns %d are in the set, which is not watched", netns)
				}
			}
		}
		for _, at := range []place{one, two, never} {
			at.halfClose(t, at.Connect(t, nstest.IPv4))
		}
		expect(map[uint64]int{one.cookie: 2, two.cookie: 2})
		watch(t, p, two)
		expect(map[uint64]int{two.cookie: 2})
		one.halfClose(t, one.Connect(t, nstest.IPv4))
		expect(map[uint64]int{two.cookie: 2})
		return strings.Join(complaints, "")
	})
}

func TestTheWalkFillsTheSetAndChangesNothingThere(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newPlace(t)
		at.halfClose(t, at.Connect(t, nstest.IPv4)) // not watched yet
		watch(t, p, at)
		late := at.sockets(t)
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		before := entries(t, p)
		walk(t, p)
		after := entries(t, p)
		if complaint := want(4, after); complaint != "" {
			t.Error(complaint)
		}
		for cookie, s := range after {
			if _, unseen := late[cookie]; unseen && !s.Entered.IsZero() {
				t.Errorf("socket %#x entered at %d, which nobody saw", cookie, s.Entered)
			}
			if was, ok := before[cookie]; ok && was != s {
				t.Errorf("the walk changed %v to %v", was, s)
			}
		}
		return want(2, before)
	})
}

func TestWhatTheSetHasNoRoomForIsCountedAndFoundByTheWalk(t *testing.T) {
	p, at := load(t, bpf.Options{MaxSockets: 4}), newPlace(t)
	watch(t, p, at)
	for range 5 {
		at.halfClose(t, at.Connect(t, nstest.IPv4))
	}
	held, set := walk(t, p), entries(t, p)
	health, err := p.Health()
	if err != nil {
		t.Fatal(err)
	}
	if len(set)+int(health.Overflow) < 10 || health.Overflow == 0 || health.Lost != 0 || health.Capacity != 4 {
		t.Errorf("10 sockets, %d in the set and %+v", len(set), health)
	}
	if len(held) != 10 {
		t.Errorf("the walk finds %d sockets, want 10", len(held))
	}
}

func TestForgettingASocketLeavesTheOthers(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
	watch(t, p, at)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	walk(t, p) // for what the program was not called for
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

func TestMoreSocketsThanABatchAreRead(t *testing.T) {
	const pairs = 700
	p, at := load(t, bpf.Options{}), newPlace(t)
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
	held, set := walk(t, p), entries(t, p) // first the walk, for what the program was not called for
	if len(held) != 2*pairs || len(set) != 2*pairs {
		t.Errorf("%d sockets, of which the walk finds %d and the set has %d", 2*pairs, len(held), len(set))
	}
}

func TestWhoReadsMayStop(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
	watch(t, p, at)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	walk(t, p) // for what the program was not called for
	enough := errors.New("enough")
	for name, read := range map[string]func(*int) error{
		"entries": func(n *int) error { return p.Entries(func(*bpf.Socket) error { *n++; return enough }) },
		"walk":    func(n *int) error { return p.Walk(func(*bpf.Holding) error { *n++; return enough }) },
		"holders": func(n *int) error { return p.Holders(func(*bpf.Holder) error { *n++; return enough }) },
	} {
		n := 0
		if err := read(&n); !errors.Is(err, enough) || n != 1 {
			t.Errorf("%s: went on for %d and returned %v", name, n, err)
		}
	}
}
