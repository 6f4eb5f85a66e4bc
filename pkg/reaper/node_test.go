// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// node is a running reaper with its own state directory.
type node struct {
	*reaper.Reaper
	tb         testing.TB
	store      *state.Store
	switchPath string
	clock      *leapingClock
	leastWalk  time.Duration // shortest interval of walks over all processes
	stop       func() error
}

// newNS creates a namespace with its own small hash table of connections, if the kernel supports that (Linux 6.1).
// Sweeping the machine's table costs 100 times as much; the tests of package finder do that.
func newNS(tb testing.TB) *nstest.NS {
	tb.Helper()
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_child_ehash_entries"); err != nil {
		return nstest.New(tb)
	}
	return nstest.NewSmall(tb, 1<<10)
}

// finders are the finders that every test of a node runs with, each with the owner lookup that belongs to it.
var finders = []string{finder.NameSockDiag, finder.NameBPF}

// selectFinder returns the named finder, with a CPU budget of a whole core. The caller closes it.
func selectFinder(tb testing.TB, name string, root *netns.Root) *finder.Backend {
	tb.Helper()
	s, err := finder.Select(name, func() (*finder.Loader, error) { return finder.NewLoader(loadShare) },
		finder.Config{Root: root, Clock: nstest.Clock(tb), CPUBudget: 1, MaxWalkInterval: time.Second})
	if errors.Is(err, unix.EPERM) {
		nstest.NeedBPF(tb, err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// testSockets is the capacity of the set of the tests' programs.
const testSockets = 1 << 14

// eachFinder runs a test once per finder, in parallel.
func eachFinder(t *testing.T, test func(t *testing.T, finder string)) {
	t.Helper()
	t.Parallel()
	for _, name := range finders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

// of returns the node for a subtest: its failures fail the subtest.
func (n *node) of(tb testing.TB) *node {
	sub := *n
	sub.tb = tb
	return &sub
}

// newNode starts a reaper that stops when the test ends.
func newNode(tb testing.TB, finder string, change ...func(*reaper.Config)) *node {
	tb.Helper()
	n := offNode(tb)
	n.start(finder, change...)
	return n
}

// offNode is a node on which no reaper runs yet.
func offNode(tb testing.TB) *node {
	tb.Helper()
	n := &node{tb: tb, store: state.New(tb.TempDir()), clock: newLeapingClock(tb), leastWalk: leastWalkInterval}
	n.switchPath = filepath.Join(n.store.Dir(), "mode")
	return n
}

// start starts a reaper on the node. The previous one must have stopped.
func (n *node) start(finder string, change ...func(*reaper.Config)) {
	n.tb.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		n.tb.Fatal(err)
	}
	n.tb.Cleanup(func() { root.Close() })
	by := selectFinder(n.tb, finder, root)
	cfg := reaper.Config{
		Store: n.store, Root: root, SwitchPath: n.switchPath, Finder: n.leaping(by.Finder), Clock: n.clock, Mode: policy.Destroy,
		Kernel: func() error { return nil }, Owners: by.Owners, OwnersBudget: 0.05, Log: slog.New(slog.NewTextHandler(n.tb.Output(), nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	if cfg.Owners == by.Owners {
		cfg.Owners = nil // no test requested this
	}
	r, err := reaper.New(cfg)
	if err != nil {
		n.tb.Fatal(err)
	}
	r.SaveEvery(saveInterval)
	r.ProbeEvery(saveInterval)
	r.WrapConns(func(c reaper.Conn) reaper.Conn { return leapingConn{c, n.clock} })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	n.Reaper = r
	n.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return errors.Join(<-ended, by.Close())
	}
	n.tb.Cleanup(func() {
		if err := n.stop(); err != nil && !errors.Is(err, reaper.ErrIdle) {
			n.tb.Errorf("the reaper returned %v", err)
		}
	})
}

// leaping wraps the finder for a node's reaper: it reports times of the node's clock, and sweeps ten times a second,
// even with long graces.
func (n *node) leaping(f finder.Finder) finder.Finder {
	return finder.Wrapped{
		Finder: f,
		Target: func(t *finder.Netns) {
			if t.Interval >= time.Second { // otherwise the test sets the interval
				t.Interval = 100 * time.Millisecond
			}
			t.Repair = max(t.Interval, n.leastWalk) // a walk over all processes costs more
			t.Patience = min(t.Patience, 200*time.Millisecond)
		},
		Sink: func(s finder.Sink) finder.Sink { return leapingSink{s, n.clock} },
	}
}

// saveInterval is the interval at which a node's reaper saves its candidates.
const saveInterval = time.Second

// leastWalkInterval is the shortest interval of walks over all processes.
const leastWalkInterval = 250 * time.Millisecond

// short is a policy with a grace of a few tenths of a second.
func short(change ...func(*policy.Policy)) policy.Policy {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Patience(300*time.Millisecond), policy.Patience(300*time.Millisecond), policy.Never
	for _, c := range change {
		c(&p)
	}
	return p
}

// register records an attachment of the namespace, as ADD does.
func (n *node) register(ns *nstest.NS, p policy.Policy) state.Record {
	n.tb.Helper()
	r := n.record(ns, p)
	if err := n.store.Put(r); err != nil {
		n.tb.Fatal(err)
	}
	return r
}

// record is what ADD would record.
func (n *node) record(ns *nstest.NS, p policy.Policy) state.Record {
	n.tb.Helper()
	r := testnode.NewRecord(n.tb, ns.Path(), "c"+strconv.Itoa(ns.FD()), reaper.LayersOf(p))
	r.Pod = state.Pod{Namespace: "default", Name: "pod-" + strconv.Itoa(ns.FD())}
	return r
}

// live requests a look at every socket now.
var live = api.SocketQuery{All: true}

// sockets lists sockets.
func (n *node) sockets(q api.SocketQuery) []api.SocketView {
	n.tb.Helper()
	list, err := n.Sockets(context.Background(), q)
	if err != nil || len(list.Problems) > 0 {
		n.tb.Fatalf("list sockets: %v %v", err, list.Problems)
	}
	return list.Sockets
}

// find returns the reaper's view of a connection's socket.
func (n *node) find(conn net.Conn, q api.SocketQuery) (api.SocketView, bool) {
	n.tb.Helper()
	local, peer := addrs(conn)
	for _, v := range n.sockets(q) {
		if v.Local == local && v.Peer == peer {
			return v, true
		}
	}
	return api.SocketView{}, false
}

// addrs returns a connection's addresses as the reaper writes them.
func addrs(conn net.Conn) (local, peer string) {
	plain := func(a net.Addr) string {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	}
	return plain(conn.LocalAddr()), plain(conn.RemoteAddr())
}

// patience bounds a wait for an event that must happen, even on a busy machine.
const patience = 30 * time.Second

// awaitVerdict waits until the verdict on a connection's socket has a reason.
func (n *node) awaitVerdict(conn net.Conn, want policy.Reason) api.SocketView {
	n.tb.Helper()
	var last api.SocketView
	nstest.Eventually(n.tb, patience, "the verdict is "+want.String(), func() bool {
		v, ok := n.find(conn, api.SocketQuery{})
		last = v
		return ok && v.Verdict == want
	})
	return last
}

// awaitDestroyed waits until the history has the destroy of the socket of conn.
func (n *node) awaitDestroyed(conn net.Conn) api.Entry {
	n.tb.Helper()
	return n.awaitEntry(conn, "destroyed")
}

func (n *node) awaitEntry(conn net.Conn, outcome string) (entry api.Entry) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, outcome+" is in the history", func() bool {
		e, ok := n.entry(conn, outcome)
		entry = e
		return ok
	})
	return entry
}

func (n *node) entry(conn net.Conn, outcome string) (api.Entry, bool) {
	n.tb.Helper()
	local, peer := addrs(conn)
	page, err := n.History(context.Background(), api.HistoryQuery{})
	if err != nil {
		n.tb.Fatal(err)
	}
	for _, e := range page.Entries {
		if e.Local.String() == local && e.Peer.String() == peer && e.Outcome == outcome {
			return e, true
		}
	}
	return api.Entry{}, false
}

// states returns the states of all TCP sockets in the namespace, listeners left out.
func states(tb testing.TB, ns *nstest.NS) map[inetdiag.State]int {
	tb.Helper()
	found := make(map[inetdiag.State]int)
	for _, s := range kernelSockets(tb, ns) {
		if s.State != inetdiag.Listen {
			found[s.State]++
		}
	}
	return found
}

// kernelSockets dumps all TCP sockets of the namespace, by cookie.
func kernelSockets(tb testing.TB, ns *nstest.NS) map[uint64]inetdiag.Socket {
	tb.Helper()
	found := make(map[uint64]inetdiag.Socket)
	ns.Do(tb, func() {
		conn, err := inetdiag.Open()
		if err != nil {
			tb.Error(err)
			return
		}
		defer conn.Close()
		err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates, Info: true}, func(s *inetdiag.Socket) error {
			found[s.ID.Cookie()] = *s
			return nil
		})
		if err != nil {
			tb.Error(err)
		}
	})
	return found
}
