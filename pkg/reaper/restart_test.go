// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// aging makes a socket in CLOSE_WAIT.
func aging(t *testing.T, ns *nstest.NS) (p nstest.Pair, cookie uint64) {
	t.Helper()
	p = shut(t, ns.Connect(t, nstest.IPv4))
	return p, cookieOf(t, p.Server)
}

// aged creates a socket in CLOSE_WAIT for which the reaper knows a longer age than the kernel proves. If the reaper
// waits for a CPU between the kernel's look and its own reading of the clock, it may take the answer to a keepalive for
// another connection: then aged creates another socket.
func (n *node) aged(t *testing.T, ns *nstest.NS) (cookie uint64, since span) {
	t.Helper()
	for range 5 {
		p, c := aging(t, ns)
		cookie = c
		n.unprovable(ns, p.Server)
		since = n.awaitAge(cookie, unproven)
		proven := n.now().Add(-time.Second - kernelSockets(t, ns)[cookie].Info.LastAckRecv) // the clock has leapt by a second since
		if proven.Sub(since.to) > unproven/2 {
			return cookie, since
		}
	}
	t.Fatal("the reaper knows no more of a socket's age than the kernel proves")
	return cookie, since
}

// awaitConfirmed waits until the reaper has looked at a socket itself, and returns when the socket became half-closed
// according to the reaper.
func (n *node) awaitConfirmed(cookie uint64) (since span) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "the socket was looked at", func() bool {
		v, ok := n.byCookie(cookie)
		return ok && v.Verdict != policy.Unknown
	})
	since, ok := n.since(cookie)
	if !ok {
		n.tb.Fatal("the socket is not known any more")
	}
	return since
}

// provenOnly checks that the reaper's age of a socket is only the age that the kernel proves.
func provenOnly(t *testing.T, now, truth span) {
	t.Helper()
	if !now.from.After(truth.to) {
		t.Errorf("half-closed since %v, as before (%v): that cannot be known", now, truth)
	}
}

func TestCleanStopLosesNoAge(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
		quiet, still := aging(t, ns)
		busy, busyCookie := aging(t, ns)
		ended, endedCookie := aging(t, ns)
		n.awaitConfirmed(busyCookie)
		answers(t, busy)
		n.awaitVerdict(busy.Server, policy.Progressing)
		n.unprovable(ns, quiet.Server, busy.Server)
		progress := n.moved(busyCookie)
		since, busySince := n.awaitAge(still, unproven), n.awaitAge(busyCookie, unproven)
		for range 2 {
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			ended.Server.Close()
			n.start(finder, attentive)
			if got := n.awaitConfirmed(still); !got.couldBe(since) {
				t.Errorf("half-closed since %v, %v before the restart", got, since)
			}
			if got := n.awaitConfirmed(busyCookie); !got.couldBe(busySince) {
				t.Errorf("one that made progress: half-closed since %v, %v before the restart", got, busySince)
			}
			if got := n.moved(busyCookie); !got.couldBe(progress) {
				t.Errorf("progress was at %v, %v before the restart", got, progress)
			}
			nstest.Eventually(t, patience, "the socket that was closed during the restart is forgotten", func() bool {
				_, ok := n.byCookie(endedCookie)
				return !ok
			})
		}
	})
}

// moved returns when the reaper noticed that a socket last made progress.
func (n *node) moved(cookie uint64) span {
	n.tb.Helper()
	from := n.now()
	v, ok := n.byCookie(cookie)
	if !ok || v.Idle == nil {
		n.tb.Fatal("the socket is not known")
	}
	idle := time.Duration(*v.Idle)
	return span{from.Add(-idle), n.now().Add(-idle)}
}

func TestGraceContinuesAcrossARestart(t *testing.T) {
	const grace = 2 * unproven
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, grace))
		p, cookie := aging(t, ns)
		n.unprovable(ns, p.Server)
		since := n.awaitAge(cookie, unproven)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start(finder, attentive)
		n.awaitConfirmed(cookie)
		n.leap(grace - unproven)
		e := n.awaitDestroyed(p.Server)
		n.neverMoved(t, e, grace)
		if age, most := time.Duration(e.Age), n.ago(since.from); age > most {
			t.Errorf("destroyed at the age of %v, which began %v ago", age, most)
		}
	})
}

// TestCrashLosesUnsavedAges removes the file that a clean stop saved, and restores the file that is saved every ten
// seconds.
func TestCrashLosesUnsavedAges(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
		saved, since := n.aged(t, ns)
		var file []byte
		nstest.Eventually(t, patience, "the candidates are saved", func() (ok bool) {
			b, err := os.ReadFile(n.store.CandidatesPath())
			file = b
			return err == nil && bytes.Contains(b, cookieBytes(saved))
		})
		late, lateSince := n.aged(t, ns)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.store.CandidatesPath(), file, 0o600); err != nil {
			t.Fatal(err)
		}
		n.start(finder, attentive)
		if got := n.awaitConfirmed(saved); !got.couldBe(since) {
			t.Errorf("half-closed since %v, %v before the crash", got, since)
		}
		provenOnly(t, n.awaitConfirmed(late), lateSince)
	})
}

// cookieBytes is a cookie in the format of inet_diag_sockid.
func cookieBytes(cookie uint64) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, uint32(cookie)), uint32(cookie>>32))
}

// TestSavedHistoryOfAnotherConnectionIsIgnored connects a socket again while no reaper runs.
func TestSavedHistoryOfAnotherConnectionIsIgnored(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, bytes := range map[string]int{"with as many bytes": 10, "with fewer": 5} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder, attentive)
				n.register(ns, timing(inetdiag.CloseWait, 100*time.Hour))
				l := ns.Listen(t, nstest.IPv4)
				s := newSocket(t, ns)
				s.halfClose(t, ns, l, inetdiag.CloseWait, 10)
				n.awaitAge(s.cookie, 0)
				n.leap(time.Minute)
				if err := n.stop(); err != nil {
					t.Fatal(err)
				}
				n.leap(time.Minute) // so that some time has passed since the last look
				reconnected := n.now().Add(-tick)
				s.disconnect(t)
				s.halfClose(t, ns, l, inetdiag.CloseWait, bytes)
				n.start(finder, attentive)
				if got := n.awaitConfirmed(s.cookie); got.to.Before(reconnected) {
					t.Errorf("half-closed since %v, but it was connected at %v", got, reconnected)
				}
			})
		}
	})
}
