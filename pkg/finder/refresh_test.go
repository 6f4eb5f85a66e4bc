// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// rareTarget returns a network namespace that is read once an hour.
func rareTarget(t *testing.T, ns *nstest.NS) finder.Netns {
	t.Helper()
	n := target(t, ns)
	n.Interval, n.Repair, n.Patience = time.Hour, time.Hour, time.Hour
	return n
}

// halfClosed half-closes connections, waits until the kernel has, and returns the cookies of their sockets: an acknowledgement of
// the FIN may be delayed.
func halfClosed(t *testing.T, ns *nstest.NS, connections int) (cookies []uint64) {
	t.Helper()
	for range connections {
		p := ns.Connect(t, nstest.IPv4)
		if err := p.Client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "both ends are half-closed", func() bool {
			return stateOf(t, p.Server) == inetdiag.CloseWait && stateOf(t, p.Client) == inetdiag.FinWait2
		})
		cookies = append(cookies, cookieOf(t, p.Client), cookieOf(t, p.Server))
	}
	return cookies
}

// isInSet returns whether the kernel has called the program of l for each of the sockets. A refresh does not show the
// others. Without programs it returns true.
func isInSet(t *testing.T, l *finder.Loader, cookies []uint64) bool {
	t.Helper()
	if l == nil {
		return true
	}
	set := make(map[uint64]bool)
	err := l.Entries(func(s *bpf.Socket) error {
		set[s.ID.Cookie()] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(cookies, func(c uint64) bool { return !set[c] })
}

// inSet half-closes connections until the kernel has called the program of l for both sockets of as many, and returns the
// cookies of these sockets. It does not call the program for each change of state.
func inSet(t *testing.T, l *finder.Loader, ns *nstest.NS, connections int) (cookies []uint64) {
	t.Helper()
	for tries := 0; len(cookies) < 2*connections; tries++ {
		if tries == 20*connections {
			t.Fatalf("the kernel has called the program for %d sockets of %d connections", len(cookies), tries)
		}
		if both := halfClosed(t, ns, 1); isInSet(t, l, both) {
			cookies = append(cookies, both...)
		}
	}
	return cookies
}

func stateOf(t *testing.T, conn *net.TCPConn) (st inetdiag.State) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			info, infoErr := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err = infoErr; err == nil {
				st = inetdiag.State(info.State)
			}
		}), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// refresh calls Refresh, which must succeed.
func refresh(t *testing.T, f finder.Finder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestARefreshReportsTheSocketsOfAllNamespacesThatAreRarelyRead(t *testing.T) {
	eachLoaded(t, func(t *testing.T, f finder.Finder, l *finder.Loader) {
		first, second := nstest.New(t), nstest.New(t)
		halfClose(t, first, 1) // so that walks cover the namespaces in any PID namespace
		halfClose(t, second, 1)
		set := []finder.Netns{rareTarget(t, first), rareTarget(t, second)}
		r := newRecorder()
		start(t, f, r) <- set
		r.await(t, "each namespace is swept", func() bool { return r.sweepsOf(set[0].Identity) > 0 && r.sweepsOf(set[1].Identity) > 0 })
		for range 3 {
			inFirst, inSecond := inSet(t, l, first, 2), inSet(t, l, second, 2)
			open := cookieOf(t, first.Connect(t, nstest.IPv4).Client)
			refresh(t, f)
			if !r.hasSeen(set[0].Identity, inFirst...) || !r.hasSeen(set[1].Identity, inSecond...) {
				t.Error("sockets that were half-closed before the refresh are not reported after it")
			}
			if r.hasSeen(set[0].Identity, open) {
				t.Error("a socket that is open in both directions is reported")
			}
		}
		r.check(t)
	})
}

func TestConcurrentRefreshesAreAllAnswered(t *testing.T) {
	eachLoaded(t, func(t *testing.T, f finder.Finder, l *finder.Loader) {
		ns := nstest.New(t)
		n := rareTarget(t, ns)
		r := newRecorder()
		start(t, f, r) <- []finder.Netns{n}
		cookies := inSet(t, l, ns, 1)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := f.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r.await(t, "the sockets are reported", func() bool { return r.hasSeen(n.Identity, cookies...) })
	})
}

func TestARefreshOfNoNamespacesEndsAtOnce(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		start(t, f, newRecorder())
		refresh(t, f)
	})
}

func TestARefreshWithoutAFindEndsWithItsContext(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Refresh(ctx) }()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestASecondFindServesRefreshes: one that waited for the first is not answered, and does not disturb the second.
func TestASecondFindServesRefreshes(t *testing.T) {
	eachLoaded(t, func(t *testing.T, f finder.Finder, l *finder.Loader) {
		ns := nstest.New(t)
		n := rareTarget(t, ns)
		_, end := startFind(t, f, newRecorder())
		refresh(t, f)
		end()
		r := newRecorder()
		sets, _ := startFind(t, f, r)
		sets <- []finder.Netns{n}
		r.await(t, "the namespace is swept", func() bool { return r.sweepsOf(n.Identity) > 0 })
		cookies := inSet(t, l, ns, 1)
		refresh(t, f)
		if !r.hasSeen(n.Identity, cookies...) {
			t.Error("the sockets are not reported")
		}
	})
}
