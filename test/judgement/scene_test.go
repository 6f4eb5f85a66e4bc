// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/test/peer"
)

// scene is two linked network namespaces: the judged sockets are in near, their peers in far.
type scene struct {
	t         *testing.T
	near, far *nstest.NS
	farPort   *net.TCPListener // in far
	nearPort  *net.TCPListener // in near
	opening   *sync.Mutex      // so that a connection is accepted by the test that made it
}

// newScene returns a scene in which the kernel drops closed connections after two seconds.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, near: nstest.New(t), far: nstest.New(t), opening: new(sync.Mutex)}
	nstest.Link(t, s.near, s.far)
	for _, ns := range []*nstest.NS{s.near, s.far} {
		sysctl(t, ns, "tcp_fin_timeout", 2)
	}
	s.farPort, s.nearPort = s.far.ListenAt(t, nstest.LinkB+":0"), s.near.ListenAt(t, nstest.LinkA+":0")
	return s
}

// in returns the scene for a subtest.
func (s *scene) in(t *testing.T) *scene {
	sub := *s
	sub.t = t
	return &sub
}

func sysctl(t *testing.T, ns *nstest.NS, name string, value int) {
	t.Helper()
	ns.Do(t, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, strconv.AppendInt(nil, int64(value), 10), 0); err != nil {
			t.Error(err)
		}
	})
}

// connect creates a connection whose client is in the near namespace.
func (s *scene) connect() nstest.Pair {
	s.t.Helper()
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.near.ConnectFrom(s.t, "", s.farPort)
}

// accept creates a connection whose server is in the near namespace.
func (s *scene) accept() nstest.Pair {
	s.t.Helper()
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.far.ConnectFrom(s.t, "", s.nearPort)
}

// leftByServer creates a connection whose server has shut down its sending side, and keeps the socket. The client, in
// near, is in CLOSE_WAIT.
func (s *scene) leftByServer() nstest.Pair {
	s.t.Helper()
	p := s.connect()
	s.shut(p.Server, p.Client)
	return p
}

// leftByClient creates a connection whose client has shut down its sending side, and keeps the socket. The server, in
// near, is in CLOSE_WAIT.
func (s *scene) leftByClient() nstest.Pair {
	s.t.Helper()
	p := s.accept()
	s.shut(p.Client, p.Server)
	return p
}

// shut shuts down the sending side of one end, and waits until the other end has received the FIN.
func (s *scene) shut(one, other *net.TCPConn) {
	s.t.Helper()
	if err := one.CloseWrite(); err != nil {
		s.t.Fatal(err)
	}
	awaitState(s.t, closeWait, other)
}

// answers checks that a half-closed connection still carries bytes in its open direction.
func answers(t *testing.T, from, to *net.TCPConn) {
	t.Helper()
	const text = "the answer"
	if _, err := from.Write([]byte(text)); err != nil {
		t.Errorf("send the answer: %v", err)
		return
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Errorf("received %q, %v, want the answer", got, err)
	}
}

// unread returns the number of received bytes that the owner of a socket has not read.
func unread(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	control(t, c, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return n
}

// options returns the five options that a question changes.
func options(t *testing.T, c *net.TCPConn) (values [5]int) {
	t.Helper()
	control(t, c, func(fd int) (err error) {
		for i, o := range [...][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			if values[i], err = unix.GetsockoptInt(fd, o[0], o[1]); err != nil {
				return err
			}
		}
		return nil
	})
	return values
}

// reset checks that the history shows a reset by the peer of a socket in CLOSE_WAIT, and checks the error that the
// owner gets.
func (r *reaper) reset(c *net.TCPConn, unread int) {
	r.t.Helper()
	e := r.awaitEntry(c, api.PeerGone, api.Destroyed)
	if e.Outcome != api.PeerGone || e.How != "reset" {
		r.t.Errorf("the history has %s (%s), want %s (reset)", e.Outcome, e.How, api.PeerGone)
	}
	// The peer's kernel drops the connection after two seconds, and the next question takes up to three seconds.
	if r.status().Finder.Missed == 0 && time.Duration(e.Age) > 6*time.Second { // otherwise the finder may not have known of it
		r.t.Errorf("its peer was found gone at the age of %v, want within 6s", time.Duration(e.Age))
	}
	got, err := io.ReadAll(c)
	if err != nil || len(got) != unread {
		r.t.Errorf("its owner reads %d bytes, then %v, want %d and the end", len(got), err, unread)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		r.t.Errorf("its owner's send: %v, want EPIPE", err)
	}
}

// process is a process that owns connections and executes commands on them.
type process struct {
	*peer.Client
	t   *testing.T
	pid int
}

// hand starts a process with that name in a network namespace, and passes it the connections, which commands call 0, 1
// and so on. The test closes its own descriptors.
func hand(t *testing.T, ns *nstest.NS, name string, conns ...*net.TCPConn) *process {
	t.Helper()
	cmd := exec.Command(self(), name)
	cmd.Env = append(os.Environ(), envRole+"="+rolePeer)
	cmd.Stderr = os.Stderr
	in, out := ns.Start(t, cmd, conns...)
	client, err := peer.NewClient(in, out)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Client: client, t: t, pid: cmd.Process.Pid}
	for i, c := range conns {
		p.do("inherit", strconv.Itoa(i), strconv.Itoa(3+i))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// do sends a command, and returns its answer.
func (p *process) do(order ...string) string {
	p.t.Helper()
	answer, err := p.Order(order...)
	if err != nil {
		p.t.Errorf("process %d: %v", p.pid, err)
	}
	return answer
}

// elapsed waits until that much time has passed since a moment.
func elapsed(t *testing.T, since time.Time, d time.Duration) {
	t.Helper()
	nstest.Eventually(t, patience, fmt.Sprintf("%v have passed", d), func() bool { return time.Since(since) >= d })
}

func cookieOf(t *testing.T, c *net.TCPConn) (cookie uint64) {
	t.Helper()
	control(t, c, func(fd int) error {
		cookie = nstest.CookieOf(t, fd)
		return nil
	})
	return cookie
}
