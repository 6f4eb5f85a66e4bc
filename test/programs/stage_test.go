// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

const (
	// soon is the timeout for events that should happen within seconds, for a busy machine.
	soon = 120 * time.Second
	// orphanTimer is the peer's tcp_fin_timeout in seconds.
	orphanTimer = 2
)

// stage is the environment of a scenario: two linked network namespaces.
type stage struct {
	*testing.T
	pod, peer *nstest.NS    // the program under test runs in pod, at nstest.LinkA; its peer at nstest.LinkB
	halfclose *reaper       // nil: without halfclose
	dir       string        // for files
	leak      nstest.Pair   // independent of the scenario
	isAsking  bool          // whether halfclose asks the peers of the program
	answers   chan struct{} // closed when servers that let the program wait may answer
	pipeSize  int           // of the programs' stdout, 0 for the usual
}

func newStage(t *testing.T, r *reaper) *stage {
	t.Helper()
	s := &stage{T: t, pod: nstest.New(t), peer: nstest.New(t), halfclose: r, dir: t.TempDir(), answers: make(chan struct{})}
	nstest.Link(t, s.pod, s.peer)
	for _, ns := range []*nstest.NS{s.pod, s.peer} {
		s.sysctl(ns, "tcp_fin_timeout", strconv.Itoa(orphanTimer))
	}
	return s
}

// sysctl sets a sysctl of IPv4 in a namespace.
func (s *stage) sysctl(ns *nstest.NS, name, value string) {
	s.Helper()
	var err error
	ns.Do(s, func() { err = os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0) })
	if err != nil {
		s.Fatal(err)
	}
}

// registrations counts them: no two have the same name.
var registrations atomic.Int64

// register registers a namespace with halfclose, if it takes part.
func (s *stage) register(name string, ns *nstest.NS, policy []string) {
	s.Helper()
	if s.halfclose == nil {
		return
	}
	name = fmt.Sprintf("%s-%d", name, registrations.Add(1))
	if err := s.halfclose.run(append([]string{"register", ns.Path(), "--name", name}, policy...)...); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("halfclose reports of %s:\n%s", name, s.halfclose.report(name))
		}
		if err := s.halfclose.run("unregister", name); err != nil {
			s.Error(err)
		}
	})
}

// sockets returns the sockets in a namespace that are in one of the states.
func (s *stage) sockets(ns *nstest.NS, states inetdiag.States, match func(*inetdiag.Socket) bool) (found []inetdiag.Socket) {
	s.Helper()
	var err error
	ns.Do(s, func() {
		var c *inetdiag.Conn
		if c, err = inetdiag.Open(); err != nil {
			return
		}
		defer c.Close()
		err = c.Dump(inetdiag.Filter{States: states, Info: true}, func(sock *inetdiag.Socket) error {
			if match(sock) {
				found = append(found, *sock)
			}
			return nil
		})
	})
	if err != nil {
		s.Fatalf("dump sockets: %v", err)
	}
	return found
}

const (
	established = inetdiag.States(1) << inetdiag.Established
	listening   = inetdiag.States(1) << inetdiag.Listen
	closeWait   = inetdiag.States(1) << inetdiag.CloseWait
	finWait2    = inetdiag.States(1) << inetdiag.FinWait2
	finWait     = finWait2 | inetdiag.States(1)<<inetdiag.FinWait1
)

// toPort matches connections to a port of the peer.
func toPort(port uint16) func(*inetdiag.Socket) bool {
	return func(sock *inetdiag.Socket) bool { return sock.ID.Peer().Port() == port }
}

// atPort matches sockets at a local port.
func atPort(port uint16) func(*inetdiag.Socket) bool {
	return func(sock *inetdiag.Socket) bool { return sock.ID.Local().Port() == port }
}

// listens waits until a program listens on a port in a namespace.
func (s *stage) listens(ns *nstest.NS, port uint16) {
	s.Helper()
	s.eventually(fmt.Sprintf("a program listens on port %d", port), func() bool {
		return len(s.sockets(ns, listening, atPort(port))) > 0
	})
}

func (s *stage) eventually(what string, condition func() bool) {
	s.Helper()
	nstest.Eventually(s, soon, what, condition)
}

// closedForGood waits until the peer has closed the program's connections to a port for longer than its orphan timer.
// Without halfclose the leaks are left in CLOSE_WAIT; with it no connection is.
func (s *stage) closedForGood(port uint16, leaks int) {
	s.Helper()
	s.eventually("the peer has closed its connections", func() bool {
		return len(s.sockets(s.pod, established, toPort(port))) == 0
	})
	if s.halfclose != nil {
		s.eventually("no half-closed socket is left", func() bool {
			return len(s.sockets(s.pod, inetdiag.HalfClosed, toPort(port))) == 0
		})
		return
	}
	s.eventually("the peer's orphan timer has expired", func() bool {
		return len(s.sockets(s.peer, finWait, atPort(port))) == 0
	})
	s.keeps(port, leaks)
}

// keptForGood waits as long as closedForGood, for a program whose peers are not asked: its connections stay with
// halfclose too.
func (s *stage) keptForGood(port uint16, leaks int) {
	s.Helper()
	s.eventually("the peer's orphan timer has expired", func() bool {
		return len(s.sockets(s.pod, established, toPort(port))) == 0 && len(s.sockets(s.peer, finWait, atPort(port))) == 0
	})
	s.endsLeak()
	s.keeps(port, leaks)
}

// keeps waits until all leaked connections of the program are in CLOSE_WAIT.
func (s *stage) keeps(port uint16, leaks int) {
	s.Helper()
	var left []inetdiag.Socket
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // a dump may miss one
		if left = s.sockets(s.pod, closeWait, toPort(port)); len(left) == leaks {
			return
		}
	}
	for _, sock := range s.sockets(s.pod, inetdiag.AllStates, toPort(port)) {
		s.Logf("%s %s: %d bytes to read", sock.State, sock.ID, sock.RQueue)
	}
	s.Fatalf("the program keeps %d connections that the peer has closed, not %d", len(left), leaks)
}

// openLeak opens a connection in the program's namespace whose peer has closed: a leak, independent of the scenario.
func (s *stage) openLeak() {
	s.Helper()
	s.leak = s.pod.ConnectFrom(s, "", s.peer.ListenAt(s, nstest.LinkB+":0"))
	s.leak.Server.Close()
}

// endsLeak waits until halfclose has ended the leak. So the remaining sockets are spared by a judgement, and not
// because halfclose does not work.
func (s *stage) endsLeak() {
	s.Helper()
	if s.halfclose == nil {
		return
	}
	s.eventually("halfclose ends the leak beside the program", func() bool {
		return len(s.sockets(s.pod, inetdiag.HalfClosed, s.isLeak)) == 0
	})
}

// isLeak matches the leak beside the scenario.
func (s *stage) isLeak(sock *inetdiag.Socket) bool {
	return sock.ID.Local().String() == s.leak.Client.LocalAddr().String()
}
