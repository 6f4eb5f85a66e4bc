// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/prober"
)

func TestClosedPeerIsDistinguishedFromOneThatOnlyShut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	both := s.give("owner", s.connect(), s.connect())
	closed, shut := both[0], both[1]
	if _, err := closed.peer.Write(make([]byte, 51)); err != nil {
		t.Fatal(err)
	}
	closed.peer.Close()
	if err := shut.peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	a := ask(t)
	c, h := closed.idle(inetdiag.CloseWait), shut.idle(inetdiag.CloseWait)
	a.wantReset(closed.question(c))
	a.want(shut.question(h), prober.Alive, prober.NoObstacle)
	shut.wantOptions(untouched)
	closed.wantOptions(untouched)
	for _, x := range []struct{ line, want string }{
		{"recv 3", "read 51"}, {"recv 3", "read 0"}, {"send 3", "EPIPE"}, {"send 4", "sent 6"}, {"recv 4", "read 0"},
	} {
		if got := closed.owner.request("%s", x.line); got != x.want {
			t.Errorf("%s: %s, want %s", x.line, got, x.want)
		}
	}
	wantAnswer(t, shut.peer)
	a.clean()
}

// wantAnswer reads the answer that the owner sent.
func wantAnswer(t *testing.T, peer *net.TCPConn) {
	t.Helper()
	if err := peer.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	if n, err := peer.Read(b); err != nil || string(b[:n]) != "answer" {
		t.Errorf("the peer reads %q, %v", b[:n], err)
	}
}

// wantReset asks until the peer's orphan timer has expired.
func (a *asker) wantReset(q prober.Question) {
	a.tb.Helper()
	var last prober.Answer
	nstest.Eventually(a.tb, patience, "the peer resets the connection", func() bool {
		n := len(a.got())
		a.Ask([]prober.Question{q})
		last = a.await(n + 1)[n]
		return last.Result != prober.Alive
	})
	if last.Result != prober.Reset {
		a.tb.Errorf("the answer is %v %v (%v), want reset", last.Result, last.Obstacle, last.Err)
	}
}

func TestBothStatesAreAskedOverEachNetwork(t *testing.T) {
	t.Parallel()
	for _, network := range nstest.Networks {
		for _, state := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(network+" "+state.String(), func(t *testing.T) {
				t.Parallel()
				ns := nstest.New(t)
				s := &scene{TB: t, near: ns, far: ns, netns: netnsOf(t, ns)} // over loopback
				p := ns.Connect(t, network)
				halfClose(t, p, state)
				j := s.give("owner", p)[0]
				a := ask(t)
				before := j.owner.request("options %d", j.fd) // package net turns keepalive on in the mapped one
				q := j.question(j.idle(state))
				if q.ID.Mapped() != (network == nstest.Mapped) {
					t.Errorf("asked about %v", q.ID)
				}
				a.want(q, prober.Alive, prober.NoObstacle)
				j.wantOptions(before)
				a.clean()
				if state == inetdiag.FinWait2 {
					return
				}
				if got := j.owner.request("send %d", j.fd); got != "sent 6" {
					t.Errorf("send: %s", got)
				}
				wantAnswer(t, p.Server)
			})
		}
	}
}

func reset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestVanishedPeerTimesOut(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(s *scene){
		"its link is down":     func(s *scene) { s.far.SetLink(s, nstest.LinkName, false) },
		"its netns is deleted": func(s *scene) { s.far.Close() },
	} {
		for _, state := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			t.Run(name+", "+state.String(), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				p := s.connect()
				halfClose(t, p, state)
				j := s.give("owner", p)[0]
				a := ask(t)
				q := j.question(j.idle(state))
				vanish(s)
				if s.far.FD() < 0 {
					// The sockets of this process keep the namespace, and so its end of the link, until they are
					// closed.
					s.near.SetLink(t, nstest.LinkName, false)
				}
				a.want(q, prober.TimedOut, prober.NoObstacle)
				j.wantOptions(untouched)
				a.clean()
				want := []string{"read 0", "ETIMEDOUT"}
				if state == inetdiag.FinWait2 {
					want = []string{"ETIMEDOUT", "EPIPE"}
				}
				for n, word := range []string{"recv", "send"} {
					if got := j.owner.request("%s %d", word, j.fd); got != want[n] {
						t.Errorf("%s: %s, want %s", word, got, want[n])
					}
				}
			})
		}
	}
}

// TestAResetInAnswerToTheLastProbeIsNoTimeout has a question of one probe. The kernel counts a probe as unanswered once it is sent.
func TestAResetInAnswerToTheLastProbeIsNoTimeout(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.connect()
	halfClose(t, p, inetdiag.FinWait2)
	j := s.give("owner", p)[0]
	a := ask(t)
	q := j.question(j.idle(inetdiag.FinWait2))
	q.Count = 1
	s.far.SetLink(t, nstest.LinkName, false)
	reset(t, p.Server) // the RST does not arrive
	s.far.SetLink(t, nstest.LinkName, true)
	a.want(q, prober.Reset, prober.NoObstacle)
	j.wantOptions(untouched)
}

func TestFinWait2IsResetByAPeerThatIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.connect()
	halfClose(t, p, inetdiag.FinWait2)
	j := s.give("owner", p)[0]
	a := ask(t)
	q := j.question(j.idle(inetdiag.FinWait2))
	s.far.SetLink(t, nstest.LinkName, false)
	reset(t, p.Server) // the RST does not arrive
	s.far.SetLink(t, nstest.LinkName, true)
	a.want(q, prober.Reset, prober.NoObstacle)
	j.wantOptions(untouched)
	for _, x := range []struct{ line, want string }{{"recv 3", "ECONNRESET"}, {"recv 3", "read 0"}, {"send 3", "EPIPE"}} {
		if got := j.owner.request("%s", x.line); got != x.want {
			t.Errorf("%s: %s, want %s", x.line, got, x.want)
		}
	}
}

// shutPeer is a socket in CLOSE_WAIT whose peer only shut its sending direction.
func (s *scene) shutPeer(role string) *judged {
	s.Helper()
	p := s.connect()
	halfClose(s, p, inetdiag.CloseWait)
	return s.give(role, p)[0]
}

func TestLivePeerGetsOneProbePerQuestion(t *testing.T) {
	t.Parallel()
	_, j, a, q := newQuestion(t)
	before, _ := j.lookup()
	a.want(q, prober.Alive, prober.NoObstacle)
	a.clean()
	time.Sleep(1200 * time.Millisecond) // a second probe would leave within a second
	after, _ := j.lookup()
	if out, in := after.Info.SegsOut-before.Info.SegsOut, after.Info.SegsIn-before.Info.SegsIn; out != 1 || in != 1 {
		t.Errorf("%d segments left and %d came, want one probe and its acknowledgement", out, in)
	}
	if after.Info.BytesAcked != before.Info.BytesAcked || after.Info.BytesReceived != before.Info.BytesReceived {
		t.Error("the probe has moved a byte count")
	}
}

func TestTheApplicationsOwnKeepaliveStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	a := ask(t)
	const own = "1 15 5 4 0"
	for _, line := range []string{"keepalive 3 1", "set 3 4 15", "set 3 5 5", "set 3 6 4"} {
		j.owner.must("ok", "%s", line)
	}
	q := j.question(j.idle(inetdiag.CloseWait))
	before, _ := j.lookup()
	asking := q
	asking.ProbeAfter = 90 * time.Second
	a.want(asking, prober.Alive, prober.NoObstacle)
	if after, _ := j.lookup(); after.Info.SegsOut != before.Info.SegsOut {
		t.Error("a probe was sent although the application's own keepalive asks")
	}
	a.want(q, prober.Alive, prober.NoObstacle) // asks sooner than the application's own keepalive
	if after, _ := j.lookup(); after.Info.SegsOut != before.Info.SegsOut+1 {
		t.Error("no probe was sent before the application's own would be")
	}
	j.wantOptions(own)
	a.clean()
}

func TestTheApplicationsOwnKeepaliveGivesTheAnswer(t *testing.T) {
	t.Parallel()
	s, j, a, q := newQuestion(t)
	q.ProbeAfter = 90 * time.Second
	s.far.SetLink(t, nstest.LinkName, false)
	for _, line := range []string{"set 3 5 1", "set 3 6 2", "keepalive 3 1", "set 3 4 1"} { // probes leave at once
		j.owner.must("ok", "%s", line)
	}
	nstest.Eventually(t, patience, "its probe is out", func() bool {
		now, ok := j.lookup()
		return !ok || now.Info.Probes > 0
	})
	a.want(q, prober.TimedOut, prober.NoObstacle)
	j.wantOptions("1 1 1 2 0")
}

func TestOptionsSetByTheOwnerDuringAQuestionStay(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		lines []string
		want  string
	}{
		"its idle time":          {[]string{"keepalive 3 1", "set 3 4 30"}, "1 30 75 9 0"},
		"all of them":            {[]string{"keepalive 3 1", "set 3 4 30", "set 3 5 31", "set 3 6 32"}, "1 30 31 32 0"},
		"keepalive off":          {[]string{"keepalive 3 0"}, untouched},
		"the user timeout alone": {[]string{"set 3 18 5000"}, "0 7200 75 9 5000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, j, a, q := newQuestion(t)
			q.Interval = 10 * time.Second
			a.askCutOff(s, q)
			for _, line := range x.lines {
				j.owner.must("ok", "%s", line)
			}
			a.Cancel(s.netns.Identity, q.ID.Cookie())
			if got := a.await(1)[0]; got.Result != prober.Cancelled {
				t.Errorf("the answer is %v", got.Result)
			}
			j.wantOptions(x.want)
			a.clean()
		})
	}
}

func TestLostProbeDoesNotCloseASocketWithAUserTimeout(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	j.owner.must("ok", "set 3 18 1000") // TCP_USER_TIMEOUT, shorter than the idle time of the socket
	a := ask(t)
	q := j.question(j.idle(inetdiag.CloseWait))
	s.far.SetLink(t, nstest.LinkName, false)
	a.Ask([]prober.Question{q})
	nstest.Eventually(t, patience, "a probe is lost", func() bool {
		now, ok := j.lookup()
		return ok && now.Info.Probes > 0
	})
	s.far.SetLink(t, nstest.LinkName, true)
	if got := a.await(1)[0]; got.Result != prober.Alive {
		t.Errorf("the answer is %v (%v)", got.Result, got.Err)
	}
	j.wantOptions("0 7200 75 9 1000")
	if got := j.owner.request("send 3"); got != "sent 6" {
		t.Errorf("send: %s", got)
	}
	wantAnswer(t, j.peer)
}

func TestDefaultsAboveTheLimitsAreClampedWithKeepaliveOff(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.sysctl(s.near, "tcp_keepalive_time", 86400)
	s.sysctl(s.near, "tcp_keepalive_intvl", 40000)
	s.sysctl(s.near, "tcp_keepalive_probes", 200)
	j := s.shutPeer("owner")
	a := ask(t)
	j.wantOptions("0 86400 40000 200 0")
	a.want(j.question(j.idle(inetdiag.CloseWait)), prober.Alive, prober.NoObstacle)
	j.wantOptions("0 32767 32767 127 0")
	a.clean()
}

func TestReconnectedSocketHasTheOwnersOptions(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.one()
	j.peer.Close()
	a := ask(t)
	a.wantReset(j.question(j.idle(inetdiag.CloseWait)))
	if got := j.owner.request("reconnect 3 %s", s.listener.Addr()); got != "ok" {
		t.Fatalf("connect again: %s", got)
	}
	j.wantOptions(untouched)
}

func TestSocketReconnectedDuringAQuestionCountsAsClosed(t *testing.T) {
	t.Parallel()
	s, j, a, q := newQuestion(t)
	a.askCutOff(s, q)
	s.far.SetLink(t, nstest.LinkName, true)
	a.Cancel(s.netns.Identity, 1) // no question: cancelling has no effect
	got := j.owner.request("reconnect 3 %s", s.listener.Addr())
	if got != "ok" {
		t.Fatalf("connect again: %s", got)
	}
	if r := a.await(1)[0].Result; r != prober.Closed && r != prober.Alive { // a probe may have come through before
		t.Errorf("the answer is %v", r)
	}
	j.wantOptions(untouched)
	a.clean()
}

func TestCancelRestoresArmedSockets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	all := s.give("owner", s.connect(), s.connect())
	for _, j := range all {
		if err := j.peer.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	a := ask(t)
	one, other := all[0].question(all[0].idle(inetdiag.CloseWait)), all[1].question(all[1].idle(inetdiag.CloseWait))
	one.Tag, other.Tag = 7, 8
	one.Interval, other.Interval = 10*time.Second, 10*time.Second
	s.far.SetLink(t, nstest.LinkName, false)
	a.Ask([]prober.Question{one, other, one})
	if got := a.await(1)[0]; got.Result != prober.NotAsked || !errors.Is(got.Err, prober.ErrOutstanding) {
		t.Errorf("asked twice: %v, %v", got.Result, got.Err)
	}
	a.armed(2)
	for _, j := range all {
		got := j.owner.request("options %d", j.fd)
		if f := strings.Fields(got); len(f) != 5 || f[1] == "7200" || f[0]+" "+strings.Join(f[2:], " ") != "1 10 3 0" {
			t.Errorf("while asked the options are %s", got)
		}
	}
	a.Cancel(s.netns.Identity, one.ID.Cookie())
	if got := a.await(2)[1]; got.Result != prober.Cancelled || got.Question.Tag != 7 {
		t.Errorf("the answer to %d is %v", got.Question.Tag, got.Result)
	}
	all[0].wantOptions(untouched)
	a.armed(1)
	a.stop() // ends the other
	if got := a.await(3)[2]; got.Result != prober.Cancelled || got.Question.Tag != 8 {
		t.Errorf("the answer to %d is %v", got.Question.Tag, got.Result)
	}
	all[1].wantOptions(untouched)
	a.clean()
}

func TestSocketWithUnacknowledgedDataIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	s, j, a, q := newQuestion(t)
	q.Interval = 10 * time.Second
	a.askCutOff(s, q)
	j.owner.must("sent 6", "send 3")
	if got := a.await(1)[0]; got.Result != prober.Cancelled {
		t.Errorf("the application has written: %v", got.Result)
	}
	j.wantOptions(untouched)
	if got := a.want(q, prober.NotAsked, prober.NoObstacle); !errors.Is(got.Err, prober.ErrUnacked) {
		t.Errorf("the error is %v", got.Err)
	}
	a.clean()
}

func TestSocketClosedByItsOwnerDuringAQuestionCountsAsClosed(t *testing.T) {
	t.Parallel()
	s, j, a, q := newQuestion(t)
	a.askCutOff(s, q)
	j.owner.must("ok", "close 3")
	if got := a.await(1)[0]; got.Result != prober.Closed {
		t.Errorf("the answer is %v", got.Result)
	}
	a.clean()
}

func TestFINDuringAQuestionIsNoReset(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.connect()
	halfClose(t, p, inetdiag.FinWait2)
	j := s.give("owner", p)[0]
	a := ask(t)
	q := j.question(j.idle(inetdiag.FinWait2))
	a.Pause(nil)
	a.askCutOff(s, q)
	s.far.SetLink(t, nstest.LinkName, true)
	if err := p.Server.CloseWrite(); err != nil { // before the next probe
		t.Fatal(err)
	}
	if got := a.await(1)[0]; got.Result == prober.Reset || got.Result == prober.TimedOut {
		t.Errorf("the answer is %v", got.Result)
	}
	j.wantOptions(untouched)
	a.clean()
}

func TestGoneSocketCountsAsClosed(t *testing.T) {
	t.Parallel()
	_, _, a, q := newQuestion(t)
	elsewhere := q
	elsewhere.Netns.Paths = []string{"/proc/self/ns/net"}
	a.want(elsewhere, prober.Closed, prober.NoObstacle) // the path leads to another namespace
	elsewhere.ID = inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), 0, 77)
	elsewhere.Netns = q.Netns
	a.want(elsewhere, prober.Closed, prober.NoObstacle)
	a.want(q, prober.Alive, prober.NoObstacle)
}

func TestNoPeerIsAskedIfTheRecordCannotBeWritten(t *testing.T) {
	t.Parallel()
	_, j, a, q := newQuestion(t)
	if err := os.Remove(a.dir); err != nil {
		t.Fatal(err)
	}
	if got := a.want(q, prober.NotAsked, prober.NoObstacle); !errors.Is(got.Err, os.ErrNotExist) {
		t.Errorf("the error is %v", got.Err)
	}
	j.wantOptions(untouched)
}
