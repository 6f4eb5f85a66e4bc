// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
)

// eachFinder runs a test for each finder, with a CPU budget of one core.
func eachFinder(t *testing.T, test func(t *testing.T, f finder.Finder)) {
	t.Helper()
	eachLoaded(t, func(t *testing.T, f finder.Finder, _ *finder.Loader) { test(t, f) })
}

// eachLoaded runs the test with each finder, and with its programs. l is nil for a finder without any.
func eachLoaded(t *testing.T, test func(t *testing.T, f finder.Finder, l *finder.Loader)) {
	t.Helper()
	for _, name := range []string{finder.NameSockDiag, finder.NameBPF} {
		t.Run(name, func(t *testing.T) {
			b, l := selectFinder(t, name)
			test(t, b.Finder, l)
		})
	}
}

// selectFinder starts the finder of that name, with a CPU budget of one core. l is nil for a finder without programs.
func selectFinder(t *testing.T, name string) (b *finder.Backend, l *finder.Loader) {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	load := func() (*finder.Loader, error) {
		l, err = finder.LoadPrograms(1 << 12)
		return l, err
	}
	b, err = finder.Select(name, load, finder.Config{Root: root, Clock: nstest.Clock(t), CPUBudget: 1})
	if _, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
		nstest.NeedBPF(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, l
}

// target returns a network namespace with an interval of 100 ms.
func target(t *testing.T, ns *nstest.NS) finder.Netns {
	t.Helper()
	id, err := netns.Identify(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return finder.Netns{Identity: id, Paths: []string{ns.Path()}, Interval: 100 * time.Millisecond, Patience: time.Second}
}

// halfClose half-closes connections in the namespace, and returns the cookies of their sockets.
func halfClose(t *testing.T, ns *nstest.NS, connections int) (cookies []uint64) {
	t.Helper()
	for range connections {
		p := ns.Connect(t, nstest.IPv4)
		if err := p.Client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, cookieOf(t, p.Client), cookieOf(t, p.Server))
	}
	return cookies
}

func cookieOf(t *testing.T, conn *net.TCPConn) (cookie uint64) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

// TestSeenReportsEveryHalfClosedSocketBeforeSwept has more sockets than one batch.
func TestSeenReportsEveryHalfClosedSocketBeforeSwept(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		busy, quiet := nstest.New(t), nstest.New(t)
		cookies := halfClose(t, busy, 100)
		open := busy.Connect(t, nstest.IPv4)
		r := newRecorder()
		sets := start(t, f, r)
		a, b := target(t, busy), target(t, quiet)
		sets <- []finder.Netns{a, b}
		r.await(t, "each namespace is swept again and again", func() bool { return r.sweepsOf(a.Identity) > 2 && r.sweepsOf(b.Identity) > 2 })
		r.await(t, "a sweep shows all", func() bool { return r.shownBy(a.Identity, cookies) })
		r.check(t)
		for _, c := range []uint64{cookieOf(t, open.Client), cookieOf(t, open.Server)} {
			if r.shownBy(a.Identity, []uint64{c}) {
				t.Error("it reports a socket that is open in both directions")
			}
		}
		if s := r.state(); s.Name != f.Name() || s.Why != "" {
			t.Errorf("its state is %+v", s)
		}
	})
}

func TestADeletedNamespaceFailsAndTheOthersAreSwept(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		ns, other := nstest.New(t), nstest.New(t)
		n, gone, replaced := target(t, ns), target(t, other), target(t, other)
		gone.Paths = []string{"/run/netns/there-is-none-of-this-name"}
		replaced.Paths, replaced.Identity.Inode, replaced.Identity.Cookie = n.Paths, 1, 1
		r := newRecorder()
		start(t, f, r) <- []finder.Netns{n, gone, replaced}
		r.await(t, "both failures are reported", func() bool {
			return netns.IsGone(r.failure(gone.Identity)) && netns.IsGone(r.failure(replaced.Identity))
		})
		r.await(t, "the other namespace is swept", func() bool { return r.sweepsOf(n.Identity) > 1 })
		if err := r.failure(n.Identity); err != nil {
			t.Errorf("the other namespace failed: %v", err)
		}
		r.check(t)
	})
}

// TestAWalkIsOneSweepOfAllNamespaces: each report may wake another goroutine, so a walk is one report.
func TestAWalkIsOneSweepOfAllNamespaces(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		var set []finder.Netns
		var ids []netns.Identity
		for range 5 {
			ns := nstest.New(t)
			halfClose(t, ns, 1) // after that, walks cover the namespace in any PID namespace
			n := target(t, ns)
			set, ids = append(set, n), append(ids, n.Identity)
		}
		r := newRecorder()
		sets := start(t, f, r)
		sets <- set
		if f.Name() == finder.NameBPF {
			r.await(t, "two walks are reported", func() bool { return r.sweepsOfAll(ids...) > 1 })
			return
		}
		r.await(t, "each is swept", func() bool {
			return !slices.ContainsFunc(ids, func(id netns.Identity) bool { return r.sweepsOf(id) < 2 })
		})
		if n := r.sweepsOfAll(ids...); n > 0 {
			t.Errorf("%d sweeps by sock_diag have several namespaces", n)
		}
	})
}

// TestAnotherFindStartsWithAnEmptySet calls Find again for a sink that knows no socket: it needs each one, with the time at
// which it became half-closed.
func TestAnotherFindStartsWithAnEmptySet(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		ns := nstest.New(t)
		n := target(t, ns)
		first := newRecorder()
		sets, end := startFind(t, f, first)
		sets <- []finder.Netns{n}
		first.await(t, "the namespace is swept", func() bool { return first.sweepsOf(n.Identity) > 1 })
		cookies := halfClose(t, ns, 3)
		first.await(t, "a sweep shows the sockets", func() bool { return first.shownBy(n.Identity, cookies) })
		end()
		entries := first.entriesOf(cookies)
		if f.Name() == finder.NameBPF && len(entries) == 0 {
			t.Fatal("no socket has a time of entry")
		}

		second := newRecorder()
		sets, _ = startFind(t, f, second)
		began := time.Now()
		second.await(t, "several intervals have passed", func() bool { return time.Since(began) > 5*n.Interval })
		if n := second.reports(); n > 0 {
			t.Errorf("%d reports before the first set", n)
		}
		sets <- []finder.Netns{n}
		second.await(t, "a sweep shows the sockets again", func() bool { return second.shownBy(n.Identity, cookies) })
		second.check(t)
		again := second.entriesOf(cookies)
		for c, at := range entries {
			if again[c] != at {
				t.Errorf("socket %d entered at %v, in the second Find at %v", c, at, again[c])
			}
		}
	})
}

func TestOpenerOpensTheRecordedNamespaceOnly(t *testing.T) {
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	opener := finder.Opener{Root: root}
	ns, other := nstest.New(t), nstest.New(t)
	n := target(t, ns)
	for name, tc := range map[string]struct {
		change func(*finder.Netns)
		gone   bool
	}{
		"its path":                              {func(*finder.Netns) {}, false},
		"a second path, after one that is gone": {func(n *finder.Netns) { n.Paths = []string{"/run/netns/none", ns.Path()} }, false},
		"a second path, after another's":        {func(n *finder.Netns) { n.Paths = []string{other.Path(), ns.Path()} }, false},
		"another's path":                        {func(n *finder.Netns) { n.Paths = []string{other.Path()} }, true},
		"a reused inode":                        {func(n *finder.Netns) { n.Identity.Cookie++ }, true},
		"no such path":                          {func(n *finder.Netns) { n.Paths = []string{"/run/netns/none"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := n
			tc.change(&n)
			conn, err := opener.Open(n)
			if netns.IsGone(err) != tc.gone || (err == nil) == tc.gone {
				t.Fatalf("the error is %v", err)
			}
			if err != nil {
				return
			}
			defer conn.Close()
			if cookie, err := conn.NetnsCookie(); err != nil || cookie != n.Identity.Cookie {
				t.Errorf("it opened netns %d, want %d: %v", cookie, n.Identity.Cookie, err)
			}
		})
	}
}
