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
)

// received returns the error of a read from a connection; sent that of a write.
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

// TestDestroysPastGrace half-closes a connection, lets one of its ends be destroyed, and checks the results of the
// owner's and the peer's calls.
func TestDestroysPastGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		all := newNode(t, finder)
		for _, tc := range []struct {
			state  inetdiag.State
			spare  func(*policy.Policy) // the other end
			expect func(t *testing.T, client, server net.Conn)
		}{
			{
				state: inetdiag.CloseWait,
				spare: func(p *policy.Policy) { p.FinWait2Grace = endless },
				expect: func(t *testing.T, client, server net.Conn) {
					check(t, "its owner's recv", received(server), io.EOF)
					check(t, "its owner's send", sent(server), unix.ECONNABORTED)
					check(t, "its peer's recv", received(client), unix.ECONNRESET)
				},
			},
			{
				state: inetdiag.FinWait2,
				spare: func(p *policy.Policy) { p.CloseWaitGrace = endless },
				expect: func(t *testing.T, client, server net.Conn) {
					check(t, "its owner's recv", received(client), unix.ECONNABORTED)
					check(t, "its peer's recv", received(server), io.EOF)
					check(t, "its peer's send", sent(server), unix.EPIPE)
				},
			},
		} {
			for _, network := range nstest.Networks {
				t.Run(tc.state.String()+" over "+network, func(t *testing.T) {
					t.Parallel()
					ns, n := newNS(t), all.of(t)
					pair, bystander := ns.Connect(t, network), ns.Connect(t, network)
					if err := pair.Client.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					n.register(ns, short(tc.spare))
					if e := n.awaitDestroyed(end(pair, tc.state)); e.State != tc.state {
						t.Errorf("recorded as %v", e.State)
					}
					tc.expect(t, pair.Client, pair.Server)
					alive(t, bystander)
					// Only the bystander is left; in particular there is no TIME_WAIT.
					if diff := cmp.Diff(map[inetdiag.State]int{inetdiag.Established: 2}, states(t, ns)); diff != "" {
						t.Errorf("sockets left (-want +got):\n%s", diff)
					}
				})
			}
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
