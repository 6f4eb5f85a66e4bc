// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// TestNewSocketWithOldAddressesHasItsOwnAge creates a socket with the addresses and ports of an earlier one.
func TestNewSocketWithOldAddressesHasItsOwnAge(t *testing.T) {
	const grace = time.Hour
	eachFinder(t, func(t *testing.T, finder string) {
		for name, leave := range map[string]func(t *testing.T, n *node, s *socket){
			"which was destroyed": func(_ *testing.T, n *node, s *socket) { n.outlast(s, grace) },
			"which was closed half through its grace": func(t *testing.T, n *node, s *socket) {
				n.awaitAge(s.cookie, 0)
				n.leap(grace / 2)
				n.awaitAge(s.cookie, grace/2)
				s.disconnect(t) // otherwise it would stay as LAST_ACK or TIME_WAIT
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder)
				n.register(ns, timing(inetdiag.CloseWait, grace))
				l := ns.Listen(t, nstest.IPv4)
				old := newSocket(t, ns)
				old.halfClose(t, ns, l, inetdiag.CloseWait, 0)
				leave(t, n, old)
				old.close()

				made := n.now()
				s := newSocket(t, ns)
				peer := s.halfClose(t, ns, l, inetdiag.CloseWait, 0)
				if s.cookie == old.cookie {
					t.Fatal("it has the old one's cookie")
				}
				e := n.outlast(s, grace)
				if age := time.Duration(e.Age); age < grace || age > n.ago(made)+tick {
					t.Errorf("destroyed at the age of %v, %v after it was made, with a grace of %v", age, n.ago(made), grace)
				}
				if want := hostPort(peer.LocalAddr()); e.Peer.String() != want {
					t.Errorf("destroyed with the peer %s, want %s", e.Peer, want)
				}
			})
		}
	})
}

// TestResponseSentBeforeTheSecondLookArrivesInFull shows the reaper an outdated look: since then the owners have sent
// an answer and closed. A destroy would discard the unacknowledged bytes.
func TestResponseSentBeforeTheSecondLookArrivesInFull(t *testing.T) {
	t.Parallel()
	const sockets = 16
	ns := newNS(t)
	fake, use := newFake()
	n := newNode(t, "sockdiag", use)
	r := n.register(ns, timing(inetdiag.CloseWait, longGrace))
	awaitTarget(t, fake, r.Netns.Identity)

	pairs := make([]nstest.Pair, sockets)
	for i := range pairs {
		pairs[i] = shut(t, ns.Connect(t, nstest.IPv4))
		awaitState(t, ns, cookieOf(t, pairs[i].Server), inetdiag.CloseWait)
	}
	control := shut(t, ns.Connect(t, nstest.IPv4)).Server
	awaitState(t, ns, cookieOf(t, control), inetdiag.CloseWait)
	before, at := kernelSockets(t, ns), nstest.Clock(t).Now()

	written := make([]int, sockets)
	var seen []finder.Seen
	var wg sync.WaitGroup
	for i, pair := range pairs {
		cookie := cookieOf(t, pair.Server)
		seen = append(seen, enteredLongAgo(before[cookie], at))
		wg.Go(func() {
			written[i] = fill(t, pair.Server) // more than the peer's buffer
			pair.Server.Close()
		})
	}
	wg.Wait()
	seen = append(seen, enteredLongAgo(before[cookieOf(t, control)], at))
	if got := states(t, ns)[inetdiag.LastAck]; got != sockets {
		t.Fatalf("%d sockets are in LAST_ACK, want %d", got, sockets)
	}
	report(t, fake, r.Netns.Identity, seen)
	n.awaitDestroyed(control)
	for i, pair := range pairs {
		drain(t, pair.Client, written[i])
		check(t, "the peer's recv after the answer", received(pair.Client), io.EOF)
		n.untouched(pair.Server)
	}
}

// TestOwnersThatCloseWhileTheyAreExamined has owners send an answer and close while the reaper processes their overdue
// sockets. A socket without a history entry must be untouched.
func TestOwnersThatCloseWhileTheyAreExamined(t *testing.T) {
	const sockets, answer = 40, 32 << 10
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, func(c *reaper.Config) { c.MaxDestroysPerSecond = sockets })
		n.turn(policy.Observe)
		n.register(ns, timing(inetdiag.CloseWait, soon))
		pairs := make([]nstest.Pair, sockets)
		for i := range pairs {
			pairs[i] = shut(t, ns.Connect(t, nstest.IPv4))
		}
		for _, p := range pairs {
			n.awaitEntry(p.Server, "would-destroy")
		}

		owed, got := make([]error, sockets), make([]int64, sockets)
		var wg sync.WaitGroup
		n.turn(policy.Destroy)
		for i, p := range pairs {
			wg.Go(func() { got[i], _ = io.Copy(io.Discard, p.Client) })
			wg.Go(func() {
				_, err := p.Server.Write(make([]byte, answer))
				owed[i] = errors.Join(err, p.Server.Close())
			})
			// Some close before the destroy, some after it, while the reaper keeps working.
			before := n.status().Counts.Destroyed[inetdiag.CloseWait]
			nstest.Eventually(t, patience, "another one is destroyed, or none is left", func() bool {
				s := n.status()
				return s.Counts.Destroyed[inetdiag.CloseWait] > before || s.Candidates[inetdiag.CloseWait.String()] == 0
			})
		}
		wg.Wait()
		destroyed := 0
		for i, p := range pairs {
			if _, ok := n.entry(p.Server, "destroyed"); ok {
				destroyed++
				continue
			}
			if owed[i] != nil || got[i] != answer {
				t.Errorf("a socket that was not destroyed: its owner's answer comes to %v, and %d of %d bytes arrived", owed[i], got[i], answer)
			}
		}
		t.Logf("%d of %d were destroyed", destroyed, sockets)
	})
}
