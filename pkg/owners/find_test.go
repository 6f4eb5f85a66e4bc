// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// scopes has each scope by name.
var scopes = map[string]owners.Scope{"everywhere": owners.AllProcesses, "inside": owners.NetnsProcesses, "beyond": owners.NetnsProcessesFirst}

func TestFindReturnsAllOwnersOfASocket(t *testing.T) {
	t.Parallel()
	ns, other := nstest.New(t), nstest.New(t)
	shared, alone, twice, bystander := newSocket(t, ns), newSocket(t, ns), newSocket(t, ns), newSocket(t, other)
	a := cat(t, ns, shared, alone)
	b := cat(t, ns, shared, twice, twice)
	cat(t, other, bystander)
	for _, s := range []socket{shared, alone, twice, bystander} {
		s.Close()
	}
	want := map[uint32][]owners.Process{shared.inode: {a.Process, b.Process}, alone.inode: {a.Process}, twice.inode: {b.Process}}
	for name, scope := range scopes {
		t.Run(name, func(t *testing.T) {
			got := find(t, owners.NewProc("/proc"), query(scope, []*nstest.NS{ns}, shared, alone, twice))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
		})
	}
}

// TestASocketOfAProcessInAnotherNamespaceIsFound passes a socket to a process in another network namespace, which is then its
// only owner, like a proxy that has created it in a pod's namespace.
func TestASocketOfAProcessInAnotherNamespaceIsFound(t *testing.T) {
	t.Parallel()
	ns, other := nstest.New(t), nstest.New(t)
	passed, kept := newSocket(t, ns), newSocket(t, ns)
	inside := cat(t, ns, kept)
	kept.Close()
	outside := pass(t, other, passed)
	passed.Close()
	p := owners.NewProc("/proc")
	look := func(what string, scope owners.Scope, want map[uint32][]owners.Process) {
		t.Helper()
		got, err := p.Find(context.Background(), query(scope, []*nstest.NS{ns}, passed, kept))
		if _, unseen := errors.AsType[*owners.UnseenError](err); err != nil && !unseen {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	near := map[uint32][]owners.Process{kept.inode: {inside.Process}}
	both := map[uint32][]owners.Process{kept.inode: {inside.Process}, passed.inode: {outside.Process}}
	look("inside, at first", owners.NetnsProcesses, near)
	look("everywhere", owners.AllProcesses, both)
	look("beyond", owners.NetnsProcessesFirst, both)
	look("inside, once it is known to hold such sockets", owners.NetnsProcesses, both)
	outside.end()
	look("inside, after its end", owners.NetnsProcesses, near)
}

// TestNetnsProcessesFirstFindsTheSameAsAllProcesses has sockets with an owner in their network namespace or in another one.
func TestNetnsProcessesFirstFindsTheSameAsAllProcesses(t *testing.T) {
	t.Parallel()
	const namespaces, each = 4, 3
	var all []*nstest.NS
	var sockets []socket
	for range namespaces {
		all = append(all, nstest.New(t))
	}
	for i, ns := range all {
		for j := range each {
			s, more := newSocket(t, ns), newSocket(t, ns)
			switch j {
			case 0:
				cat(t, ns, s, more)
				cat(t, ns, more)
			case 1:
				cat(t, all[(i+1)%namespaces], s, more)
			case 2: // the test process
				sockets = append(sockets, s, more)
				continue
			}
			s.Close()
			more.Close()
			sockets = append(sockets, s, more)
		}
	}
	want := find(t, owners.NewProc("/proc"), query(owners.AllProcesses, nil, sockets...))
	if len(want) != len(sockets) {
		t.Errorf("of %d sockets %d have an owner", len(sockets), len(want))
	}
	got := find(t, owners.NewProc("/proc"), query(owners.NetnsProcessesFirst, all, sockets...))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners (-all +netns first):\n%s", diff)
	}

	mixed := newSocket(t, all[0])
	in, out := cat(t, all[0], mixed), cat(t, all[1], mixed)
	mixed.Close()
	for name, tc := range map[string]struct {
		scope owners.Scope
		want  []owners.Process
	}{
		"everywhere":                  {owners.AllProcesses, []owners.Process{in.Process, out.Process}},
		"beyond, where one is inside": {owners.NetnsProcessesFirst, []owners.Process{in.Process}},
	} {
		got := find(t, owners.NewProc("/proc"), query(tc.scope, all[:1], mixed))
		if diff := cmp.Diff(tc.want, got[mixed.inode]); diff != "" {
			t.Errorf("a socket shared across namespaces, %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSocketsWithTheSameOwnersShareTheList(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	a, b, c := newSocket(t, ns), newSocket(t, ns), newSocket(t, ns)
	cat(t, ns, a, b, c)
	cat(t, ns, a, b)
	for _, s := range []socket{a, b, c} {
		s.Close()
	}
	got := find(t, owners.NewProc("/proc"), query(owners.NetnsProcesses, []*nstest.NS{ns}, a, b, c))
	if len(got[a.inode]) != 2 || len(got[c.inode]) != 1 {
		t.Fatalf("found %v", got)
	}
	if &got[a.inode][0] != &got[b.inode][0] {
		t.Error("each has its own list")
	}
}

func TestCommandIsTheNameThatTheProcessHasChosen(t *testing.T) {
	t.Parallel()
	const name = "\x1b[31m a\nb]\xff" // up to 15 bytes
	program, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSocket(t, nil)
	p := start(t, nil, command(path, s))
	s.Close()
	p.Command = name
	want := map[uint32][]owners.Process{s.inode: {p.Process}}
	if diff := cmp.Diff(want, find(t, owners.NewProc("/proc"), query(owners.AllProcesses, nil, s))); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

func TestProcessesThatExitDuringTheSearchAreSkipped(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	s := newSocket(t, ns)
	holder := cat(t, ns, s)
	s.Close()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				if err := command("true").Run(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	p := owners.NewProc("/proc")
	for i := range 60 {
		q := query(owners.AllProcesses, []*nstest.NS{ns}, s)
		if i%2 == 1 {
			q.Scope = owners.NetnsProcesses
		}
		if diff := cmp.Diff(map[uint32][]owners.Process{s.inode: {holder.Process}}, find(t, p, q)); diff != "" {
			t.Fatalf("search %d (-want +got):\n%s", i, diff)
		}
	}
	close(quit)
	<-done
}

func TestFindReturnsWhenItsContextIsDone(t *testing.T) {
	t.Parallel()
	s := newSocket(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, scope := range scopes {
		if _, err := owners.NewProc("/proc").Find(ctx, query(scope, nil, s)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
}

func TestFindFailsWithoutAProcFileSystem(t *testing.T) {
	t.Parallel()
	_, err := owners.NewProc(filepath.Join(t.TempDir(), "proc")).Find(context.Background(), query(owners.AllProcesses, nil, newSocket(t, nil)))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestOnCompleteReportsSocketsWithAllOwnersKnown has a socket with one owner, and one without.
func TestOnCompleteReportsSocketsWithAllOwnersKnown(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	held, none := newSocket(t, ns), socket{inode: 1<<32 - 2}
	whole := func(t *testing.T, scope owners.Scope, find func(owners.Query) error) (reported map[uint32]bool, denied bool) {
		t.Helper()
		reported = make(map[uint32]bool)
		q := query(scope, []*nstest.NS{ns}, held, none)
		q.OnComplete = func(inode uint32) { reported[inode] = true }
		err := find(q)
		if _, denied = errors.AsType[*owners.UnseenError](err); err != nil && !denied {
			t.Fatal(err)
		}
		return reported, denied
	}
	p := owners.NewProc("/proc")
	byProc := func(q owners.Query) error { _, err := p.Find(t.Context(), q); return err }
	bySource := func(ownerList int, also error) func(owners.Query) error {
		return func(q owners.Query) error {
			_, err := p.FindWith(t.Context(), q, func(holds func(owners.Descriptor) error) error {
				for i := range ownerList {
					if err := holds(owners.Descriptor{Inode: held.inode, PID: i + 1, Command: "a"}); err != nil {
						return err
					}
				}
				return also
			})
			return err
		}
	}
	for _, tc := range []struct {
		name       string
		scope      owners.Scope
		find       func(owners.Query) error
		held, none bool // if every process may be searched, which depends on the sandbox of the test
		source     bool // decides alone
	}{
		{"by a source, whatever the scope", owners.NetnsProcesses, bySource(1, nil), true, true, true},
		{"by a source that finds too many", owners.NetnsProcesses, bySource(owners.MaxOwners, nil), false, true, true},
		{"by a source that left out some", owners.NetnsProcesses, bySource(1, owners.ErrPartial), false, false, false},
		{"inside", owners.NetnsProcesses, byProc, false, false, false},
		{"beyond", owners.NetnsProcessesFirst, byProc, false, true, false},
		{"everywhere", owners.AllProcesses, byProc, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reported, denied := whole(t, tc.scope, tc.find)
			if denied && !tc.source {
				tc.none = false
			}
			if reported[held.inode] != tc.held || reported[none.inode] != tc.none {
				t.Errorf("complete: %v, want %v; of the socket without an owner: %v, want %v", reported[held.inode], tc.held, reported[none.inode], tc.none)
			}
		})
	}
}
