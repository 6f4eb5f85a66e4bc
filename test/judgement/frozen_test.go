// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// TestServerFrozenForThreeGracesRespondsLater freezes or stops a server before its client shuts down its sending side,
// thaws it three graces later, and lets it answer two seconds after that.
func TestServerFrozenForThreeGracesRespondsLater(t *testing.T) {
	const grace = 4 * time.Second
	eachFinder(t, func(t *testing.T, finder string) {
		for name, freeze := range map[string]func(t *testing.T, p *process) (thaw func()){
			"by the freezer of version 2": func(t *testing.T, p *process) func() { return p.freeze(2) },
			"by the freezer of version 1": func(t *testing.T, p *process) func() { return p.freeze(1) },
			"by SIGSTOP":                  func(t *testing.T, p *process) func() { return nstest.Suspend(t, p.pid) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s := newReaper(t, finder), newScene(t)
				r.register(s.near, "server", `{"probeAfter": "never", "grace": "`+grace.String()+`"}`)
				conn, running := s.accept(), s.accept()
				at := addressed(conn.Server)
				server := hand(t, s.near, "server", conn.Server)
				thaw := freeze(t, server)
				if err := conn.Client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				s.shut(running.Client, running.Server)
				r.awaitEntry(running.Server, api.Destroyed)
				r.awaitView(at, "three graces have passed", func(v api.SocketView) bool {
					return v.Age != nil && time.Duration(*v.Age) >= 3*grace
				})
				thaw()
				elapsed(t, time.Now(), 2*time.Second)
				if got := server.do("send", "0", "answer"); got != "ok" {
					t.Errorf("the server's answer: %s", got)
				}
				_ = conn.Client.SetReadDeadline(time.Now().Add(patience))
				got := make([]byte, len("answer\n"))
				if n, err := conn.Client.Read(got); err != nil || string(got[:n]) != "answer\n" {
					t.Errorf("the client reads %q, %v", got[:n], err)
				}
			})
		}
	})
}

// freeze freezes the process in a cgroup of its own.
func (p *process) freeze(version int) (thaw func()) {
	p.t.Helper()
	c := nstest.NewCgroup(p.t, version, nil)
	c.Add(p.t, p.pid)
	c.Freeze(p.t)
	return func() { c.Thaw(p.t) }
}
