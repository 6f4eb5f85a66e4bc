// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// received is what a read from a connection comes to; sent what a write does.
func received(c net.Conn) error {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.Read(make([]byte, 1))
	return err
}

func sent(c net.Conn) error {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.Write([]byte("x"))
	return err
}

// TestDestroysPastGrace leaves one side of a connection half-closed in either state, and checks what its
// owner and its peer see of the destroy.
func TestDestroysPastGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for _, network := range nstest.Networks {
			// Each end is in a namespace of its own kind: one registered for the one state, one for the other.
			t.Run("CLOSE_WAIT over "+network, func(t *testing.T) {
				t.Parallel()
				ns := nstest.New(t)
				n := newNode(t, finder)
				pair, bystander := ns.Connect(t, network), ns.Connect(t, network)
				if err := pair.Client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				n.register(ns, short(func(p *policy.Policy) { p.FinWait2Grace = policy.Never }))
				e := n.awaitDestroyed(pair.Server)
				if e.State != inetdiag.CloseWait {
					t.Errorf("journalled as %v", e.State)
				}
				check(t, "its owner's recv", received(pair.Server), io.EOF)
				check(t, "its owner's send", sent(pair.Server), unix.ECONNABORTED)
				check(t, "its peer's recv", received(pair.Client), unix.ECONNRESET)
				alive(t, bystander)
				onlyEstablished(t, ns, bystander)
			})
			t.Run("FIN_WAIT2 over "+network, func(t *testing.T) {
				t.Parallel()
				ns := nstest.New(t)
				n := newNode(t, finder)
				pair, bystander := ns.Connect(t, network), ns.Connect(t, network)
				if err := pair.Client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				n.register(ns, short(func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }))
				e := n.awaitDestroyed(pair.Client)
				if e.State != inetdiag.FinWait2 {
					t.Errorf("journalled as %v", e.State)
				}
				check(t, "its owner's recv", received(pair.Client), unix.ECONNABORTED)
				check(t, "its peer's recv", received(pair.Server), io.EOF)
				check(t, "its peer's send", sent(pair.Server), unix.EPIPE)
				alive(t, bystander)
				onlyEstablished(t, ns, bystander)
			})
		}
	})
}

func check(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// alive sends a byte each way.
func alive(t *testing.T, p nstest.Pair) {
	t.Helper()
	for _, way := range [][2]net.Conn{{p.Client, p.Server}, {p.Server, p.Client}} {
		if err := errors.Join(sent(way[0]), received(way[1])); err != nil {
			t.Errorf("a connection that is not half-closed: %v", err)
		}
	}
}

// onlyEstablished checks that nothing but the bystander is left, no TIME_WAIT in particular.
func onlyEstablished(t *testing.T, ns *nstest.NS, _ nstest.Pair) {
	t.Helper()
	if diff := cmp.Diff(map[inetdiag.State]int{inetdiag.Established: 2}, states(t, ns)); diff != "" {
		t.Errorf("sockets left (-want +got):\n%s", diff)
	}
}

var live = reaper.SocketQuery{All: true}
