// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	finders "github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestRuleForClientsSparesTheServersOfTheSameNetns has a server that computes for six times the clients' grace. The
// role of a server is unknown if its listener closed before its client shut down its sending side: it is spared as
// well.
func TestRuleForClientsSparesTheServersOfTheSameNetns(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "both", `{"probeAfter": "1s", "rules": [
			{"match": {"role": "client"}, "grace": "1s"}, {"match": {"role": "server"}, "grace": "never"}]}`)
		client, server := s.connect(), s.leftByClient()
		listenerClosed := s.accept()
		if err := s.nearPort.Close(); err != nil {
			t.Fatal(err)
		}
		s.shut(listenerClosed.Client, listenerClosed.Server)
		if err := client.Server.Close(); err != nil {
			t.Fatal(err)
		}
		r.awaitEntry(client.Client, api.PeerGone, api.Destroyed)
		r.awaitView(server.Server, "it has been half-closed for six seconds", func(v api.SocketView) bool {
			return v.Age != nil && time.Duration(*v.Age) >= 6*time.Second
		})
		r.untouched(closeWait, server.Server, listenerClosed.Server)
		answers(t, server.Server, server.Client)
		answers(t, listenerClosed.Server, listenerClosed.Client)
	})
}

// byRole is a policy in which the time until a socket's deadline shows its role. Its probeAfter makes the finders look
// often.
const byRole = `{"probeAfter": "1s", "pendingGrace": "1s", "grace": "3h", "rules": [
	{"match": {"role": "client"}, "grace": "1h"}, {"match": {"role": "server"}, "grace": "2h"}]}`

// roleIn returns the role of a socket under byRole. It is not ok while the socket has no deadline: the reaper has not looked
// at the other end of its connection yet.
func roleIn(t *testing.T, v api.SocketView) (role policy.Role, ok bool) {
	t.Helper()
	if v.Deadline == nil || v.Idle == nil {
		return policy.RoleUnknown, false
	}
	switch patience := time.Duration(*v.Deadline + *v.Idle).Round(time.Hour); patience {
	case time.Hour:
		return policy.RoleClient, true
	case 2 * time.Hour:
		return policy.RoleServer, true
	case 3 * time.Hour:
		return policy.RoleUnknown, true
	default:
		t.Fatalf("its grace is %v", patience)
		return policy.RoleUnknown, false
	}
}

// TestRoleOfEachSideIsKnown has both ends of each connection in one network namespace.
func TestRoleOfEachSideIsKnown(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		type end struct {
			what string
			want policy.Role
		}
		r, ends := newReaper(t, finder), make(map[uint64]end)
		for i, o := range nstest.Openings {
			ns := nstest.New(t)
			r.put(r.record(ns, "pod"+string(rune('a'+i)), byRole))
			client, server := o.Make(t, ns)
			if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			clientRole, serverRole := policy.RoleClient, policy.RoleServer
			if o.Bound {
				clientRole = policy.RoleUnknown
			}
			if finder == finders.NameSockDiag {
				clientRole = policy.RoleUnknown // nothing proves it
				if o.Shared {
					clientRole = policy.RoleServer // as documented
				}
				if o.Closed {
					serverRole = policy.RoleUnknown
				}
			}
			ends[nstest.CookieOf(t, client)] = end{"the client: " + o.Name, clientRole}
			ends[nstest.CookieOf(t, server)] = end{"the server: " + o.Name, serverRole}
		}
		// The first report of a socket may be without the role: the sweep of a new network namespace leaves it to the walk.
		var wrong []string
		defer func() {
			for _, w := range wrong {
				t.Error(w)
			}
		}()
		nstest.Eventually(t, patience, "each end has its role", func() bool {
			found := make(map[uint64]api.SocketView)
			for _, v := range r.views() {
				if v.Verdict != policy.Unknown {
					found[v.Cookie] = v
				}
			}
			wrong = nil
			for cookie, e := range ends {
				if v, ok := found[cookie]; !ok {
					wrong = append(wrong, e.what+" is not found")
				} else if got, ok := roleIn(t, v); !ok || got != e.want {
					wrong = append(wrong, fmt.Sprintf("%s is taken for %v, want %v (%s)", e.what, got, e.want, v.Why))
				}
			}
			return len(wrong) == 0
		})
	})
}

// TestRoleSurvivesACloseOfTheListenerAndAKilledReaper has a role that no later look can determine.
func TestRoleSurvivesACloseOfTheListenerAndAKilledReaper(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "pod", byRole)
		client, server := s.leftByServer(), s.leftByClient()
		wantClient := policy.RoleClient
		if finder == finders.NameSockDiag {
			wantClient = policy.RoleUnknown
		}
		check := func(when string) {
			t.Helper()
			for conn, want := range map[addressedConn]policy.Role{server.Server: policy.RoleServer, client.Client: wantClient} {
				r.awaitView(conn, fmt.Sprintf("%s the role is %v", when, want), func(v api.SocketView) bool {
					got, ok := roleIn(t, v)
					return v.Verdict != policy.Unknown && ok && got == want
				})
			}
		}
		check("at first")
		if err := s.nearPort.Close(); err != nil {
			t.Fatal(err)
		}
		r.awaitSaved(cookieOf(t, server.Server), cookieOf(t, client.Client))
		check("after the listener has closed")
		r.kill()
		r.start()
		check("after the reaper was killed")
	})
}

// awaitSaved waits until the file of saved ages has the sockets.
func (r *reaper) awaitSaved(cookies ...uint64) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, "the sockets' ages are saved", func() bool {
		file, err := os.ReadFile(r.store.CandidatesPath())
		for _, c := range cookies {
			if err != nil || !bytes.Contains(file, binary.NativeEndian.AppendUint64(nil, c)) {
				return false
			}
		}
		return true
	})
}
