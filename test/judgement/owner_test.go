// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestRuleForACommandSparesItsSocketsAndUnknownOwners has three sockets in one network namespace. A process that the
// rule names owns the first, another process the second. The only descriptor of the third is in flight between two
// processes.
func TestRuleForACommandSparesItsSocketsAndUnknownOwners(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "pod", `{"probeAfter": "never", "grace": "1s", "rules": [{"match": {"commands": ["keep"]}, "mode": "off"}]}`)
		kept, others, flying := s.connect(), s.connect(), s.connect()
		keptAt, othersAt, flyingAt := addressed(kept.Client), addressed(others.Client), addressed(flying.Client)
		keeper := hand(t, s.near, "keep", kept.Client)
		hand(t, s.near, "other", others.Client)
		land := inFlight(t, flying.Client)
		for _, p := range []nstest.Pair{kept, others, flying} {
			if err := p.Server.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if e := r.awaitEntry(othersAt, api.Destroyed); len(e.Owners) != 1 || e.Owners[0].Command != "other" {
			t.Errorf("destroyed as a socket of %v", e.Owners)
		}
		r.awaitVerdict(keptAt, policy.ModeOff)
		r.awaitVerdict(flyingAt, policy.OwnerUnknown)
		for _, at := range []endpoints{keptAt, flyingAt} {
			if e, ok := r.entry(at); ok {
				t.Errorf("it is in the history: %+v", e)
			}
		}
		if got := keeper.do("send", "0", "hello"); got != "ok" {
			t.Errorf("the send of the one that keeps its socket: %s", got)
		}
		answers(t, land(), flying.Server)
	})
}

// inFlight sends a connection's descriptor over a unix socket, and closes it here. land receives it.
func inFlight(t *testing.T, c *net.TCPConn) (land func() *net.TCPConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range pair {
		t.Cleanup(func() { unix.Close(fd) })
	}
	control(t, c, func(fd int) error { return unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0) })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return func() *net.TCPConn {
		control := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages: %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fds[0]), "connection")
		defer f.Close()
		landed, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { landed.Close() })
		return landed.(*net.TCPConn)
	}
}
