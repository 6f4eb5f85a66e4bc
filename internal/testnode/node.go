// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package testnode has the test node that the suites share: a state directory, records of network namespaces in it, the
// reaper that works on it as a process, and queries that wait for an answer of that reaper.
package testnode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Patience bounds a wait on a busy machine. The bpf finder's walk, which finds sockets that its tracepoint has missed,
// runs once a minute.
const Patience = 2 * time.Minute

// Reaper answers queries: an [admin.Client], or a reaper in this process.
type Reaper interface {
	Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error)
	History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error)
}

// Node is a state directory and its reaper, which may be another process, restarting or missing.
type Node struct {
	Reaper

	TB     testing.TB
	Store  *state.Store
	Client *admin.Client
}

// New returns the node of a state directory. Its reaper answers on the directory's unix socket.
func New(tb testing.TB, dir string) *Node {
	store := state.New(dir)
	client := admin.NewClient(store.SocketPath())
	return &Node{Reaper: client, TB: tb, Store: store, Client: client}
}

// In returns the node for a subtest.
func (n *Node) In(tb testing.TB) *Node {
	sub := *n
	sub.TB = tb
	return &sub
}

// NewRecord returns the record that ADD writes for a network namespace.
func NewRecord(tb testing.TB, path, container string, layers policy.Layers) state.Record {
	tb.Helper()
	id, err := netns.Identify(path)
	if err != nil {
		tb.Fatal(err)
	}
	boot, err := netns.BootID()
	if err != nil {
		tb.Fatal(err)
	}
	return state.Record{
		Network: "testnet", Attachment: state.Attachment{ContainerID: container, IfName: "eth0"}, Boot: boot,
		Netns: state.Netns{Path: path, Identity: id}, Layers: layers, Time: time.Now().Round(0),
	}
}

// Put writes a record. It needs no reaper.
func (n *Node) Put(r state.Record) state.Record {
	n.TB.Helper()
	if err := n.Store.Put(r); err != nil {
		n.TB.Fatal(err)
	}
	return r
}

// Record returns the record of an attachment, and whether it exists.
func (n *Node) Record(a state.Attachment) (state.Record, bool) {
	n.TB.Helper()
	r, err := n.Store.Get(a)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.TB.Fatal(err)
	}
	return r, err == nil
}

// AwaitStatus waits until the reaper has read all records, and returns its status. A reaper of another version may report
// some records as problems.
func (n *Node) AwaitStatus() (s api.Status) {
	n.TB.Helper()
	n.await("the reaper has read all records", func() (bool, error) {
		listing, err := n.Store.List(context.Background())
		if err != nil {
			return false, err
		}
		s, err = n.Client.Status(context.Background())
		return len(s.Attachments)+len(s.Problems) == len(listing.Records)+len(listing.Problems), err
	})
	return s
}

// Conn is a connection by its addresses. One without a peer stands for all of its local address.
type Conn struct{ Local, Peer netip.AddrPort }

// ConnOf returns the addresses of a TCP connection as the reaper writes them.
func ConnOf(c interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
},
) Conn {
	plain := func(a net.Addr) netip.AddrPort { return unmapped(a.(*net.TCPAddr).AddrPort()) }
	return Conn{plain(c.LocalAddr()), plain(c.RemoteAddr())}
}

// ParseConn returns the connection of two addresses as text.
func ParseConn(local, peer string) (Conn, error) {
	l, err := netip.ParseAddrPort(local)
	p, perr := netip.ParseAddrPort(peer)
	return Conn{unmapped(l), unmapped(p)}, errors.Join(err, perr)
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (c Conn) is(local, peer netip.AddrPort) bool {
	return unmapped(local) == c.Local && (c.Peer == netip.AddrPort{} || unmapped(peer) == c.Peer)
}

// FindSocket returns the reaper's answer for a connection, and whether it knows the connection.
func (n *Node) FindSocket(c Conn, q api.SocketQuery) (v api.SocketView, found bool, err error) {
	list, err := n.Sockets(context.Background(), q)
	for _, v := range list.Sockets {
		if at, bad := ParseConn(v.Local, v.Peer); bad == nil && c.is(at.Local, at.Peer) {
			return v, true, err
		}
	}
	return api.SocketView{}, false, err
}

// AwaitSocket waits until the reaper's answer for a connection is as wanted.
func (n *Node) AwaitSocket(c Conn, q api.SocketQuery, what string, want func(api.SocketView) bool) (v api.SocketView) {
	n.TB.Helper()
	n.await(what, func() (found bool, err error) {
		v, found, err = n.FindSocket(c, q)
		return found && want(v), err
	})
	return v
}

// AwaitVerdict waits until a half-closed connection has a verdict.
func (n *Node) AwaitVerdict(c Conn, want policy.Reason) api.SocketView {
	n.TB.Helper()
	return n.AwaitSocket(c, api.SocketQuery{}, "the verdict is "+want.String(), func(v api.SocketView) bool { return v.Verdict == want })
}

// Entries returns the reaper's history.
func (n *Node) Entries() ([]api.Entry, error) {
	page, err := n.History(context.Background(), api.HistoryQuery{})
	return page.Entries, err
}

// AwaitEntries waits until the history is as wanted.
func (n *Node) AwaitEntries(what string, want func([]api.Entry) bool) (entries []api.Entry) {
	n.TB.Helper()
	n.await(what, func() (_ bool, err error) {
		entries, err = n.Entries()
		return want(entries), err
	})
	return entries
}

// FindEntry returns the history's first entry of a connection that has one of the outcomes. No outcome stands for all.
func (n *Node) FindEntry(c Conn, outcomes ...string) (e api.Entry, found bool, err error) {
	entries, err := n.Entries()
	for _, e := range entries {
		if c.is(e.Local, e.Peer) && (len(outcomes) == 0 || slices.Contains(outcomes, e.Outcome)) {
			return e, true, err
		}
	}
	return api.Entry{}, false, err
}

// AwaitEntry waits until the history has an entry of a connection that has one of the outcomes.
func (n *Node) AwaitEntry(c Conn, outcomes ...string) (e api.Entry) {
	n.TB.Helper()
	n.await(fmt.Sprintf("%s of %v is in the history", strings.Join(outcomes, " or "), c), func() (found bool, err error) {
		e, found, err = n.FindEntry(c, outcomes...)
		return found, err
	})
	return e
}

// StopReaper stops the reaper, if one is running, and waits until its process has exited.
func (n *Node) StopReaper() {
	n.TB.Helper()
	s, err := n.Client.Status(context.Background())
	if err != nil {
		return
	}
	if err := unix.Kill(s.Holder.PID, unix.SIGTERM); err != nil {
		n.TB.Errorf("stop the reaper: %v", err)
	}
	AwaitExit(n.TB, s.Holder.PID)
}

// AwaitExit waits until a process has exited.
func AwaitExit(tb testing.TB, pid int) {
	tb.Helper()
	nstest.Eventually(tb, Patience, fmt.Sprintf("process %d exits", pid), func() bool { return unix.Kill(pid, 0) != nil })
}

// await waits until cond holds. The reaper may be starting, so cond may fail; its last error is logged if the wait fails.
func (n *Node) await(what string, cond func() (bool, error)) {
	n.TB.Helper()
	var err error
	defer func() {
		if err != nil {
			n.TB.Logf("%s: %v", what, err)
		}
	}()
	nstest.Eventually(n.TB, Patience, what, func() (ok bool) {
		ok, err = cond()
		return ok && err == nil
	})
}
