// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestRolesAreReported half-closes both ends of each kind of connection, each in its own network namespace.
func TestRolesAreReported(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		type end struct {
			what   string
			netns  finder.Netns
			cookie uint64
			role   policy.Role
		}
		var (
			ends []end
			set  []finder.Netns
		)
		for _, o := range nstest.Openings {
			ns := nstest.New(t)
			client, server := o.Make(t, ns)
			if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			clientRole, serverRole := policy.RoleClient, policy.RoleServer
			if o.Bound {
				clientRole = policy.RoleUnknown
			}
			if f.Name() == finder.NameSockDiag {
				clientRole = policy.RoleUnknown // no proof
				if o.Shared {
					clientRole = policy.RoleServer // wrong, as documented
				}
				if o.Closed {
					serverRole = policy.RoleUnknown
				}
			}
			n := target(t, ns)
			set = append(set, n)
			ends = append(ends,
				end{"client of: " + o.Name, n, nstest.CookieOf(t, client), clientRole},
				end{"server of: " + o.Name, n, nstest.CookieOf(t, server), serverRole})
		}
		r := newRecorder()
		start(t, f, r) <- set
		for _, e := range ends {
			r.await(t, "swept again and again", func() bool {
				return r.sweepsOf(e.netns.Identity) > 2 && r.shownBy(e.netns.Identity, []uint64{e.cookie})
			})
			if got, _ := r.role(e.cookie); got != e.role {
				t.Errorf("%s: role %v, want %v", e.what, got, e.role)
			}
		}
		r.check(t)
	})
}

// TestAServerKeepsItsRoleAfterItsListenerHasClosed closes the listener once the finder has reported the socket.
func TestAServerKeepsItsRoleAfterItsListenerHasClosed(t *testing.T) {
	eachFinder(t, func(t *testing.T, f finder.Finder) {
		ns := nstest.New(t)
		l := ns.Listen(t, nstest.IPv4)
		client := ns.Dial(t, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)
		server, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		cookie, n, r := cookieOf(t, server), target(t, ns), newRecorder()
		start(t, f, r) <- []finder.Netns{n}
		r.await(t, "its role is reported", func() bool { role, _ := r.role(cookie); return role == policy.RoleServer })
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		swept := r.sweepsOf(n.Identity)
		r.await(t, "swept again and again", func() bool { return r.sweepsOf(n.Identity) > swept+2 })
		if _, last := r.role(cookie); f.Name() == finder.NameSockDiag && last != policy.RoleServer {
			t.Errorf("role %v", last)
		}
		r.check(t)
	})
}
