// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// finding is a reaper's source of owners. Tests without findsOwners have none, which avoids a walk over all processes
// before each destroy.
type finding struct{ owners.Resolver }

func findsOwners(c *reaper.Config) { c.Owners, c.OwnersBudget = finding{c.Owners}, 0 }

// observed is a source of owners whose calls a test can observe.
type observed struct {
	owners.Resolver
	looks atomic.Int64
	gate  chan struct{} // unless nil, look-ups wait until it is closed, or their context is done
	also  error         // the other attributes of the log line
}

func (o *observed) use(c *reaper.Config) {
	o.Resolver = c.Owners
	c.Owners, c.OwnersBudget = o, 0
}

func (o *observed) Find(ctx context.Context, q owners.Query) (map[uint32][]owners.Process, error) {
	o.looks.Add(1)
	if o.gate != nil {
		select {
		case <-o.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	found, err := o.Resolver.Find(ctx, q)
	return found, errors.Join(err, o.also)
}

// whichContainer ignores the container of a process: it is the container of the test, if any.
func whichContainer() cmp.Option { return cmpopts.IgnoreFields(owners.Process{}, "ContainerID") }

// handed creates a half-closed pair. Only processes of the namespace own the end that is in the state.
func handed(t *testing.T, ns *nstest.NS, st inetdiag.State) (conn *net.TCPConn, let func()) {
	t.Helper()
	conn = end(shut(t, ns.Connect(t, nstest.IPv4)), st)
	return conn, func() { conn.Close() }
}

// TestHistoryNamesOwnerThatClosesAtOnce has a process that closes its socket as soon as the destroy wakes it. The test
// reads the entry as a follower of the history does, when it is new.
func TestHistoryNamesOwnerThatClosesAtOnce(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, (&observed{}).use)
		conn, let := handed(t, ns, inetdiag.FinWait2)
		p := letsGo(t, ns, conn)
		let()
		if said := p.awaitSaid(t); said != "holds it" {
			t.Fatalf("it says %q", said)
		}
		n.register(ns, timing(inetdiag.FinWait2, 3*time.Second))
		var page api.HistoryPage
		for len(page.Entries) == 0 {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			var err error
			page, err = n.History(ctx, api.HistoryQuery{History: page.History, After: page.Last, Wait: patience})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
		}
		local, peer := addrs(conn)
		e := page.Entries[0]
		if e.Local.String() != local || e.Peer.String() != peer || e.Outcome != api.Destroyed {
			t.Errorf("the history has %+v", e)
		}
		if diff := cmp.Diff([]owners.Process{p.Process}, e.Owners, whichContainer()); diff != "" {
			t.Errorf("its owners (-want +got):\n%s", diff)
		}
		if said := p.awaitSaid(t); !strings.HasPrefix(said, "let go: ") || !strings.Contains(said, "software caused connection abort") {
			t.Errorf("it says %q", said)
		}
	})
}

// TestHistoryNamesAllOwnersOfASharedSocket delays the look-up of the owners: the socket is not destroyed before it is
// complete.
func TestHistoryNamesAllOwnersOfASharedSocket(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, change := range map[string]func(*policy.Policy){"destroyed": func(*policy.Policy) {}, "would-destroy": observe} {
			verdict := policy.Destroyable
			if name == "would-destroy" {
				verdict = policy.WouldDestroy
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				o := observed{gate: make(chan struct{})}
				n := newNode(t, finder, o.use)
				conn, let := handed(t, ns, inetdiag.CloseWait)
				a, b := holder(t, ns, conn), holder(t, ns, conn)
				let()
				bystander, letBystander := handed(t, newNS(t), inetdiag.CloseWait)
				holder(t, ns, bystander)
				letBystander()
				n.register(ns, timing(inetdiag.CloseWait, soon, change))
				n.awaitVerdict(conn, verdict)
				n.awaitSweeps(3)
				if _, early := n.entry(conn, name); early {
					t.Error("it is in the history before its owners have been looked up")
				}
				close(o.gate)
				e := n.awaitEntry(conn, name)
				if diff := cmp.Diff([]owners.Process{a.Process, b.Process}, e.Owners, whichContainer()); diff != "" {
					t.Errorf("its owners (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// TestNoOwnersAreLookedUpWhileNoSocketIsDue repeatedly sweeps sockets that are not due for a long time, and then lets
// one become due.
func TestNoOwnersAreLookedUpWhileNoSocketIsDue(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		var o observed
		n := newNode(t, finder, o.use, impatient)
		busy := newNS(t)
		for range 10 {
			shut(t, busy.Connect(t, nstest.IPv4))
		}
		pair := shut(t, busy.Connect(t, nstest.IPv4))
		n.register(busy, timing(inetdiag.CloseWait, 10*time.Minute))
		n.awaitVerdict(pair.Server, policy.WithinGrace)
		swept := n.status().Finder.Sweeps
		nstest.Eventually(t, patience, "it was swept again and again", func() bool { return n.status().Finder.Sweeps > swept+20 })
		if looks := o.looks.Load(); looks != 0 {
			t.Errorf("it was looked %d times", looks)
		}
		ns := newNS(t)
		due := shut(t, ns.Connect(t, nstest.IPv4))
		n.register(ns, timing(inetdiag.CloseWait, soon))
		n.awaitDestroyed(due.Server)
		nstest.Eventually(t, patience, "it was looked once something is due", func() bool { return o.looks.Load() > 0 })
	})
}

func TestSocketsAreListedWithAllTheirOwners(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, other := newNS(t), newNS(t)
		o := observed{also: errors.New("there may be more")}
		n := newNode(t, finder, o.use)
		conn, let := handed(t, ns, inetdiag.CloseWait)
		in, out := holder(t, ns, conn), holder(t, other, conn)
		let()
		n.register(ns, timing(inetdiag.CloseWait, 10*time.Minute))
		n.awaitVerdict(conn, policy.WithinGrace)
		if v, _ := n.find(conn, api.SocketQuery{}); v.Owners != nil || o.looks.Load() != 0 {
			t.Errorf("owners were not requested, and there are %v", v.Owners)
		}
		for name, q := range map[string]api.SocketQuery{
			"known": {Owners: true}, "looked at now": {Owners: true, All: true}, "by path": {Owners: true, Netns: ns.Path()},
		} {
			listed := func() (diffs string) {
				list, err := n.Sockets(context.Background(), q)
				if err != nil {
					t.Fatal(err)
				}
				diffs = cmp.Diff([]string{"there may be more"}, list.Problems)
				local, _ := addrs(conn)
				for _, v := range list.Sockets {
					want := []owners.Process{me(t)} // of the other end
					if v.Local == local {
						want = []owners.Process{in.Process, out.Process}
					}
					if v.State != inetdiag.Listen {
						diffs += cmp.Diff(want, v.Owners, whichContainer())
					}
				}
				return diffs
			}
			// A child that another test is starting holds all of this process's descriptors until it executes its program.
			diff := ""
			nstest.Eventually(t, patience, name+": it is listed with these owners", func() bool {
				diff = listed()
				if diff != "" && t.Context().Err() == nil {
					t.Logf("%s: owners (-want +got):\n%s", name, diff)
				}
				return diff == ""
			})
		}
	})
}
