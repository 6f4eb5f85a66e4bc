// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// TestSocketOfAVanishedPeerIsClosedAfterTheProbes has a socket in CLOSE_WAIT and one in FIN_WAIT2, whose peer no longer
// receives any packet.
func TestSocketOfAVanishedPeerIsClosedAfterTheProbes(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, vanish := range map[string]func(s *scene, conns ...*net.TCPConn){
			"its link is down": func(s *scene, _ ...*net.TCPConn) { s.far.SetLink(s.t, nstest.LinkName, false) },
			"its network namespace is deleted": func(s *scene, conns ...*net.TCPConn) {
				s.far.SetLink(s.t, nstest.LinkName, false) // so that no further packet is sent
				for _, c := range conns {
					_ = c.SetLinger(0) // otherwise the kernel keeps the socket, which keeps the network namespace
					c.Close()
				}
				s.farPort.Close()
				s.far.Close()
				nstest.Eventually(s.t, patience, "the link is gone", func() bool { return !s.near.HasLink(s.t, nstest.LinkName) })
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s, reachable := newReaper(t, finder), newScene(t), newScene(t)
				const object = `{"probeAfter": "1s", "probeCount": 3, "probeInterval": "1s"}`
				r.register(s.near, "vanished", object)
				r.register(reachable.near, "reachable", object)
				closeWaits, finWaits, alive := s.leftByServer(), s.connect(), reachable.leftByServer()
				s.shut(finWaits.Client, finWaits.Server)
				awaitState(t, finWait2, finWaits.Client)
				vanish(s, closeWaits.Server, finWaits.Server)
				for _, c := range []*net.TCPConn{closeWaits.Client, finWaits.Client} {
					if e := r.awaitEntry(c, api.PeerGone, api.Destroyed); e.Outcome != api.PeerGone || e.How != "timeout" || time.Duration(e.Age) < 3*time.Second {
						t.Errorf("the history has %s (%s) at the age of %v, want %s (timeout) after three probes", e.Outcome, e.How, time.Duration(e.Age), api.PeerGone)
					}
				}
				if got, err := io.ReadAll(closeWaits.Client); err != nil || len(got) != 0 {
					t.Errorf("the owner in CLOSE_WAIT reads %q, %v", got, err)
				}
				if _, err := closeWaits.Client.Write([]byte("x")); !errors.Is(err, unix.ETIMEDOUT) {
					t.Errorf("the send of the owner in CLOSE_WAIT: %v, want ETIMEDOUT", err)
				}
				if _, err := finWaits.Client.Read(make([]byte, 1)); !errors.Is(err, unix.ETIMEDOUT) {
					t.Errorf("the recv of the owner in FIN_WAIT2: %v, want ETIMEDOUT", err)
				}
				r.untouched(closeWait, alive.Client)
				answers(t, alive.Client, alive.Server)
			})
		}
	})
}

// TestOwnerThatDiesOfSIGPIPEIsSpared has two owners with the default disposition of SIGPIPE whose peers have closed.
// For one of them a rule allows asking its peer.
func TestOwnerThatDiesOfSIGPIPEIsSpared(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "pod", `{"probeAfter": "1s", "rules": [{"match": {"commands": ["tail"]}, "askSigpipe": true}]}`)
		spared, asked := s.connect(), s.connect()
		at, other := addressed(spared.Client), addressed(asked.Client)
		owned(t, exec.Command("sleep", "1000"), spared.Client)
		owned(t, exec.Command("tail", "-f", "/dev/null"), asked.Client)
		for _, p := range []nstest.Pair{spared, asked} {
			if err := p.Server.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if e := r.awaitEntry(other, api.PeerGone, api.Destroyed); e.Outcome != api.PeerGone {
			t.Errorf("the history has %s of the one that may be asked", e.Outcome)
		}
		r.awaitView(at, "its peer cannot be asked", func(v api.SocketView) bool { return strings.Contains(v.Why, "sigpipe") })
		if e, ok := r.entry(at); ok {
			t.Errorf("it is in the history: %+v", e)
		}
	})
}

// owned starts a process that owns a connection until the test ends. The test closes its own descriptor.
func owned(t *testing.T, cmd *exec.Cmd, c *net.TCPConn) {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
