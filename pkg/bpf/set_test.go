// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"net"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
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
	p, at := load(t, bpf.Options{}), newPlace(t)
	watch(t, p, at)
	pair := at.Connect(t, nstest.IPv4)
	if set := entries(t, p); len(set) != 0 {
		t.Errorf("an established connection is in the set: %v", set)
	}
	before := monotime.Now()
	at.halfClose(t, pair)
	after := monotime.Now()
	set := entries(t, p)
	if len(set) != 2 {
		t.Fatalf("%d sockets in the set, want both ends: %v", len(set), set)
	}
	for _, s := range set {
		if s.Entered.Before(before) || after.Before(s.Entered) || s.At != s.Entered {
			t.Errorf("%v entered at %d and was looked at at %d; it was half-closed from %d to %d", s.ID, s.Entered, s.At, before, after)
		}
	}
}

func TestASocketLeavesTheSetAsItLeavesItsState(t *testing.T) {
	for name, leave := range map[string]func(at place, pair nstest.Pair) error{
		"its owner closes it": func(_ place, pair nstest.Pair) error { return pair.Server.Close() },
		"the other end's owner closes that": func(_ place, pair nstest.Pair) error {
			return errors.Join(pair.Client.Close(), pair.Server.Close())
		},
		"a reset": func(_ place, pair nstest.Pair) error {
			return errors.Join(pair.Server.SetLinger(0), pair.Server.Close())
		},
		"a destroy": func(at place, pair nstest.Pair) error {
			for _, s := range at.sockets(t) {
				if err := at.diag.Destroy(s.ID); err != nil && !errors.Is(err, inetdiag.ErrGone) {
					return err
				}
			}
			return nil
		},
		"connect(AF_UNSPEC)": func(_ place, pair nstest.Pair) error {
			control(t, pair.Client, disconnect)
			control(t, pair.Server, disconnect)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, at := load(t, bpf.Options{}), newPlace(t)
			watch(t, p, at)
			stays, goes := at.Connect(t, nstest.IPv4), at.Connect(t, nstest.IPv6)
			at.halfClose(t, stays)
			want := entries(t, p)
			if name == "a destroy" { // of all
				want = nil
			}
			at.halfClose(t, goes)
			if err := leave(at, goes); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, patience, "the set has what stays", func() bool { return len(entries(t, p)) == len(want) })
			for cookie := range want {
				if _, ok := entries(t, p)[cookie]; !ok {
					t.Errorf("socket %#x stays half-closed and left the set", cookie)
				}
			}
		})
	}
}

func TestOrphansAreNotInTheSet(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
	watch(t, p, at)
	pair := at.Connect(t, nstest.IPv4)
	if err := pair.Client.Close(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "CLOSE_WAIT in the set", func() bool { return len(entries(t, p)) > 0 })
	nstest.Eventually(t, patience, "FIN_WAIT2 without an owner", func() bool { return len(at.sockets(t)) == 2 })
	for _, s := range entries(t, p) {
		if s.State != inetdiag.CloseWait {
			t.Errorf("an orphan is in the set: %v %v", s.State, s.ID)
		}
	}
}

func TestOnlyWatchedNamespacesAreInTheSet(t *testing.T) {
	p := load(t, bpf.Options{})
	one, two, never := newPlace(t), newPlace(t), newPlace(t)
	watch(t, p, one, two)
	count := func() map[uint64]int {
		n := make(map[uint64]int)
		for _, s := range entries(t, p) {
			n[s.Netns]++
		}
		return n
	}
	for _, at := range []place{one, two, never} {
		at.halfClose(t, at.Connect(t, nstest.IPv4))
	}
	if n := count(); n[one.cookie] != 2 || n[two.cookie] != 2 || len(n) != 2 {
		t.Errorf("sockets by namespace: %v", n)
	}
	watch(t, p, two)
	if n := count(); n[two.cookie] != 2 || len(n) != 1 {
		t.Errorf("after one namespace left, sockets by namespace: %v", n)
	}
	one.halfClose(t, one.Connect(t, nstest.IPv4))
	if n := count(); n[two.cookie] != 2 || len(n) != 1 {
		t.Errorf("a namespace that left is still followed: %v", n)
	}
}

func TestTheWalkFillsTheSetAndChangesNothingThere(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
	at.halfClose(t, at.Connect(t, nstest.IPv4)) // not watched yet
	watch(t, p, at)
	late := at.sockets(t)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	before := entries(t, p)
	if len(before) != 2 {
		t.Fatalf("%d sockets in the set, want those of the second connection", len(before))
	}
	walk(t, p)
	after := entries(t, p)
	if len(after) != 4 {
		t.Errorf("after a walk %d sockets are in the set, want 4", len(after))
	}
	for cookie, s := range after {
		_, unseen := late[cookie]
		if s.Entered.IsZero() != unseen {
			t.Errorf("socket %#x entered at %d; nobody saw that: %t", cookie, s.Entered, unseen)
		}
		if was, ok := before[cookie]; ok && was != s {
			t.Errorf("the walk changed %v to %v", was, s)
		}
	}
}

func TestWhatTheSetHasNoRoomForIsCountedAndFoundByTheWalk(t *testing.T) {
	p, at := load(t, bpf.Options{MaxSockets: 4}), newPlace(t)
	watch(t, p, at)
	for range 5 {
		at.halfClose(t, at.Connect(t, nstest.IPv4))
	}
	health, err := p.Health()
	if err != nil {
		t.Fatal(err)
	}
	set, held := entries(t, p), walk(t, p)
	if len(set)+int(health.Overflow) < 10 || health.Overflow == 0 || health.Capacity != 4 {
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
