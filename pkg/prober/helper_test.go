// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/prober"
)

func ptr(b *[16]byte) unsafe.Pointer { return unsafe.Pointer(b) }

func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL} }

// untouched are the options of a socket whose application sets none.
const untouched = "0 7200 75 9 0"

// scene is two linked network namespaces: near has the sockets that the prober asks about, far their peers.
type scene struct {
	testing.TB
	near, far *nstest.NS
	netns     finder.Netns // near
	listener  *net.TCPListener
}

// newScene returns a scene in which orphans in FIN_WAIT2 live for a second.
func newScene(tb testing.TB) *scene {
	tb.Helper()
	s := &scene{TB: tb, near: nstest.New(tb), far: nstest.New(tb)}
	nstest.Link(tb, s.near, s.far)
	s.sysctl(s.near, "tcp_fin_timeout", 1)
	s.sysctl(s.far, "tcp_fin_timeout", 1)
	s.listener = s.far.ListenAt(tb, nstest.LinkB+":0")
	s.netns = netnsOf(tb, s.near)
	return s
}

func netnsOf(tb testing.TB, ns *nstest.NS) finder.Netns {
	tb.Helper()
	id, err := netns.Identify(ns.Path())
	if err != nil {
		nstest.NeedPrivilege(tb, "enter a network namespace", err)
	}
	return finder.Netns{Identity: id, Paths: []string{ns.Path()}}
}

func (s *scene) sysctl(ns *nstest.NS, name string, value int) {
	s.Helper()
	ns.Do(s, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, strconv.AppendInt(nil, int64(value), 10), 0); err != nil {
			s.Error(err)
		}
	})
}

// connect opens a connection from near to far.
func (s *scene) connect() nstest.Pair {
	s.Helper()
	return s.near.ConnectFrom(s, "", s.listener)
}

// file moves a connection into a file for another process.
func file(tb testing.TB, c *net.TCPConn) *os.File {
	tb.Helper()
	f, err := c.File()
	if err != nil {
		tb.Fatal(err)
	}
	c.Close()
	tb.Cleanup(func() { f.Close() })
	return f
}

func cookieOf(tb testing.TB, fd int) uint64 {
	tb.Helper()
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// judged is a socket that another process owns, with its peer, which the test owns.
type judged struct {
	*scene
	owner  *process
	fd     int // in the owner
	peer   *net.TCPConn
	cookie uint64
	id     inetdiag.ID // once it has been seen
}

// give passes the client sockets of the connections to a process with the role, as descriptors from 3 on.
func (s *scene) give(role string, pairs ...nstest.Pair) []*judged {
	s.Helper()
	all := make([]*judged, len(pairs))
	files := make([]*os.File, len(pairs))
	for n, p := range pairs {
		files[n] = file(s, p.Client)
		all[n] = &judged{scene: s, fd: 3 + n, peer: p.Server, cookie: cookieOf(s, int(files[n].Fd()))}
	}
	owner := start(s, s.near, play(role, files...))
	for n := range files {
		files[n].Close()
		all[n].owner = owner
	}
	return all
}

// one creates a connection whose near end another process owns.
func (s *scene) one() *judged {
	s.Helper()
	return s.give("owner", s.connect())[0]
}

// halfClose closes the end of a connection that puts its client socket in the state.
func halfClose(tb testing.TB, p nstest.Pair, state inetdiag.State) {
	tb.Helper()
	end := p.Server
	if state == inetdiag.FinWait2 {
		end = p.Client
	}
	if err := end.CloseWrite(); err != nil {
		tb.Fatal(err)
	}
}

// lookup returns the socket as sock_diag reports it, in any state; ok is false if sock_diag does not report it.
func (j *judged) lookup() (found inetdiag.Socket, ok bool) {
	j.Helper()
	j.near.Do(j, func() {
		c, err := inetdiag.Open()
		if err != nil {
			j.Error(err)
			return
		}
		defer c.Close()
		if j.id != (inetdiag.ID{}) {
			if found, err = c.Lookup(j.id); err == nil {
				ok = true
			}
			return
		}
		if err := c.Dump(inetdiag.Filter{States: inetdiag.AllStates, Info: true}, func(s *inetdiag.Socket) error {
			if s.ID.Cookie() == j.cookie {
				found, ok = *s, true
				j.id = s.ID
			}
			return nil
		}); err != nil {
			j.Error(err)
		}
	})
	return found, ok
}

// destroy destroys the socket. Its owner keeps the descriptor.
func (j *judged) destroy() {
	j.Helper()
	s, ok := j.lookup()
	if !ok {
		j.Fatal("the socket is gone already")
	}
	j.near.Do(j, func() {
		c, err := inetdiag.Open()
		if err == nil {
			err = c.Destroy(s.ID)
			c.Close()
		}
		if err != nil {
			j.Errorf("destroy: %v", err)
		}
	})
}

// idle waits until the socket is in the state, and has been idle for a second.
func (j *judged) idle(state inetdiag.State) inetdiag.Socket {
	j.Helper()
	var s inetdiag.Socket
	nstest.Eventually(j, patience, state.String()+", and idle", func() bool {
		var ok bool
		s, ok = j.lookup()
		return ok && s.State == state && min(s.Info.LastAckRecv, s.Info.LastDataRecv) >= time.Second
	})
	return s
}

// question asks about the socket, which is idle in CLOSE_WAIT, with three probes a second apart.
func (j *judged) question(s inetdiag.Socket) prober.Question {
	return prober.Question{
		Netns: j.netns, ID: s.ID, State: s.State, Inode: s.Inode, Owners: []prober.Owner{{PID: j.owner.PID}},
		Count: 3, Interval: time.Second, ProbeAfter: time.Second,
	}
}

func (j *judged) wantOptions(want string) {
	j.Helper()
	if got := j.owner.request("options %d", j.fd); got != want {
		j.Errorf("the socket's options are %q, want %q", got, want)
	}
}

// asker is a running Prober, with its answers.
type asker struct {
	*prober.Prober
	tb      testing.TB
	dir     string
	stop    func() // stops Run, and waits until it has returned
	mu      sync.Mutex
	answers []prober.Answer
}

// ask starts a Prober with its own directory.
func ask(tb testing.TB) *asker {
	tb.Helper()
	a := newAsker(tb, tb.TempDir())
	a.run()
	return a
}

func newAsker(tb testing.TB, dir string) *asker {
	tb.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		tb.Fatal(err)
	}
	clock, err := monotime.System()
	if err != nil {
		tb.Fatal(err)
	}
	a := &asker{tb: tb, dir: dir}
	a.Prober, err = prober.New(prober.Config{
		Dir: dir, Opener: finder.Opener{Root: root}, Clock: clock, Budget: 10, MaxPerSecond: 100_000,
		Answered: func(all []prober.Answer) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.answers = append(a.answers, all...)
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	a.SetPatience(patience) // a thread without a CPU is not blocked
	return a
}

func (a *asker) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			a.tb.Errorf("run: %v", err)
		}
	}()
	a.stop = func() {
		cancel()
		<-done
	}
	a.tb.Cleanup(a.stop)
}

func (a *asker) got() []prober.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]prober.Answer(nil), a.answers...)
}

// await waits for n answers and returns them.
func (a *asker) await(n int) []prober.Answer {
	a.tb.Helper()
	nstest.Eventually(a.tb, patience, strconv.Itoa(n)+" answers", func() bool { return len(a.got()) >= n })
	return a.got()
}

// want asks a question, and compares its answer.
func (a *asker) want(q prober.Question, r prober.Result, o prober.Obstacle) prober.Answer {
	a.tb.Helper()
	before := len(a.got())
	a.Ask([]prober.Question{q})
	got := a.await(before + 1)[before]
	if got.Result != r || got.Obstacle != o {
		a.tb.Errorf("the answer is %v %v (%v), want %v %v", got.Result, got.Obstacle, got.Err, r, o)
	}
	return got
}

// newQuestion returns a scene, an idle socket in CLOSE_WAIT whose peer is alive, a Prober, and a question about the socket.
func newQuestion(tb testing.TB) (*scene, *judged, *asker, prober.Question) {
	tb.Helper()
	s := newScene(tb)
	j := s.shutPeer("owner")
	a := ask(tb)
	return s, j, a, j.question(j.idle(inetdiag.CloseWait))
}

// askCutOff cuts the link to the peers, asks a question and waits until it is out.
func (a *asker) askCutOff(s *scene, q prober.Question) {
	a.tb.Helper()
	s.far.SetLink(a.tb, nstest.LinkName, false)
	a.Ask([]prober.Question{q})
	a.armed(1)
}

// armed waits until a question is out.
func (a *asker) armed(n int) {
	a.tb.Helper()
	nstest.Eventually(a.tb, patience, "questions are out", func() bool { return a.Stats().Armed == n })
}

// clean waits until the directory has no record, and no socket is armed.
func (a *asker) clean() {
	a.tb.Helper()
	nstest.Eventually(a.tb, patience, "all is restored, and no record is left", func() bool {
		entries, err := os.ReadDir(a.dir)
		return err == nil && len(entries) == 0 && a.Stats().Armed == 0
	})
}
