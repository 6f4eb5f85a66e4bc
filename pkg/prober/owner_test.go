// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/prober"
)

// optionsOf returns the options of another process's descriptor.
func optionsOf(tb testing.TB, pid, fd int) string {
	tb.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(pidfd)
	mine, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(mine)
	got, err := options(mine)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// holder starts an idle process that owns the sockets.
func holder(tb testing.TB, ns *nstest.NS, attr *syscall.SysProcAttr, files ...*os.File) int {
	tb.Helper()
	cmd := exec.Command("cat")
	cmd.ExtraFiles, cmd.SysProcAttr = files, attr
	return start(tb, ns, cmd).PID
}

func TestOwnersInAnyNamespaceAreReached(t *testing.T) {
	t.Parallel()
	another := nstest.New(t)
	for name, x := range map[string]struct {
		ns   *nstest.NS // nil for the owner of the socket
		attr *syscall.SysProcAttr
	}{
		"under another uid": {attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}},
		"in a user namespace, under another uid": {attr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65533, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65533, Size: 1}},
		}},
		"in a child pid namespace":     {attr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}},
		"in another network namespace": {ns: another},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			p := s.connect()
			if err := p.Server.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			f := file(t, p.Client)
			j := &judged{scene: s, fd: 3, peer: p.Server, cookie: cookieOf(t, int(f.Fd()))}
			ns := s.near
			if x.ns != nil {
				ns = x.ns
			}
			pid := holder(t, ns, x.attr, f)
			f.Close()
			j.owner = &process{PID: pid}
			a := ask(t)
			a.want(j.question(j.idle(inetdiag.CloseWait)), prober.Alive, prober.NoObstacle)
			if got := optionsOf(t, pid, 3); got != untouched {
				t.Errorf("the options are %s", got)
			}
			a.clean()
		})
	}
}

func TestDescriptorTableOfAThreadIsReached(t *testing.T) {
	t.Parallel()
	for name, role := range map[string]string{
		"with a descriptor table of its own": "apart", "of a process without its main thread": "headless",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			j := s.shutPeer(role)
			tid, err := strconv.Atoi(j.owner.line())
			if err != nil {
				t.Fatal(err)
			}
			if role == "apart" {
				nstest.Eventually(t, patience, "the other threads have closed it", func() bool {
					_, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/3", j.owner.PID))
					return err != nil
				})
			}
			a := ask(t)
			q := j.question(j.idle(inetdiag.CloseWait))
			a.want(q, prober.NotAsked, prober.OwnerUnknown)
			q.Owners[0].TID = tid
			if !hasThreadPidfds() {
				a.want(q, prober.NotAsked, prober.Kernel)
				j.wantOptions(untouched)
				a.clean()
				return
			}
			a.want(q, prober.Alive, prober.NoObstacle)
			j.wantOptions(untouched)
			a.clean()
		})
	}
}

// hasThreadPidfds reports whether the kernel has PIDFD_THREAD (Linux 6.9), which is O_EXCL.
func hasThreadPidfds() bool {
	fd, err := unix.PidfdOpen(unix.Gettid(), unix.O_EXCL)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
}

func TestOneReachableOwnerIsEnough(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	child, err := strconv.Atoi(j.owner.request("fork 3"))
	if err != nil {
		t.Fatal(err)
	}
	a := ask(t)
	q := j.question(j.idle(inetdiag.CloseWait))
	q.Owners = append(q.Owners, prober.Owner{PID: child, DiesOfSigpipe: true})
	a.want(q, prober.NotAsked, prober.Sigpipe)
	q.Owners[1].DiesOfSigpipe = false
	j.owner.must("ok", "close 3")
	a.want(q, prober.Alive, prober.NoObstacle)
	if got := optionsOf(t, child, 3); got != untouched {
		t.Errorf("the options are %s", got)
	}
	q.Owners = []prober.Owner{{PID: j.owner.PID}}
	a.want(q, prober.NotAsked, prober.OwnerUnknown)
	q.Owners = nil
	a.want(q, prober.NotAsked, prober.OwnerUnknown)
}

func TestSocketThatMovedToAChildIsRestored(t *testing.T) {
	t.Parallel()
	s, j, a, q := newQuestion(t)
	q.Interval = 10 * time.Second
	a.askCutOff(s, q)
	child, err := strconv.Atoi(j.owner.request("fork 3"))
	if err != nil {
		t.Fatal(err)
	}
	j.owner.must("ok", "close 3")
	a.Cancel(s.netns.Identity, q.ID.Cookie())
	if got := a.await(1)[0]; got.Result != prober.Cancelled {
		t.Errorf("the answer is %v", got.Result)
	}
	a.clean()
	if got := optionsOf(t, child, 3); got != untouched {
		t.Errorf("the options are %s", got)
	}
}

func TestSocketInFlightIsNotAskedAboutAndIsRestoredOnArrival(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.connect()
	if err := p.Server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	sends, receives := os.NewFile(uintptr(fds[0]), "sends"), os.NewFile(uintptr(fds[1]), "receives")
	f := file(t, p.Client)
	j := &judged{scene: s, fd: 3, peer: p.Server, cookie: cookieOf(t, int(f.Fd()))}
	j.owner = start(t, s.near, play("owner", f, sends))
	receiver := start(t, s.near, play("receiver", receives))
	for _, f := range []*os.File{f, sends, receives} {
		f.Close()
	}
	a := ask(t)
	q := j.question(j.idle(inetdiag.CloseWait))
	q.Interval = 10 * time.Second
	a.askCutOff(s, q)
	j.owner.must("ok", "passto 3 4")
	a.Cancel(s.netns.Identity, q.ID.Cookie())
	if got := a.await(1)[0]; got.Result != prober.Cancelled {
		t.Errorf("the answer is %v", got.Result)
	}
	a.want(q, prober.NotAsked, prober.OwnerUnknown)
	if got := a.Stats(); got.Missing != 1 || got.Armed != 1 {
		t.Errorf("%d of %d armed sockets are missing, want the one", got.Missing, got.Armed)
	}
	number := receiver.request("receive")
	a.clean()
	if got := receiver.request("options %s", number); got != untouched {
		t.Errorf("the options are %s", got)
	}
}

func TestNoOptionIsSetOnAnotherSocketWithTheSameDescriptor(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"inspect", "arm", "armed", "restore"} {
		t.Run("closed at "+step, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pairs := []nstest.Pair{s.connect(), s.connect()}
			for _, p := range pairs {
				if err := p.Server.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			both := s.give("owner", pairs...)
			j, other := both[0], both[1]
			a := newAsker(t, t.TempDir())
			var once sync.Once
			a.Pause(func(at string, _ int) {
				if at == step {
					once.Do(func() { // close it, and reuse its number for the other
						if got := j.owner.request("dup 4 3"); got != "ok" {
							t.Error(got)
						}
					})
				}
			})
			q := j.question(j.idle(inetdiag.CloseWait))
			a.run()
			a.Ask([]prober.Question{q})
			want := prober.Closed
			if step == "restore" {
				want = prober.Alive
			}
			if got := a.await(1)[0]; got.Result != want {
				t.Errorf("the answer is %v %v (%v), want %v", got.Result, got.Obstacle, got.Err, want)
			}
			a.clean()
			j.wantOptions(untouched) // of the new socket with the same number
			other.wantOptions(untouched)
			if got := j.owner.request("send 3"); got != "sent 6" {
				t.Errorf("the other connection: %s", got)
			}
		})
	}
}

func TestOptionChangedBeforeArmingIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	a := newAsker(t, t.TempDir())
	var once sync.Once
	a.Pause(func(at string, _ int) {
		if at == "arm" {
			once.Do(func() {
				if got := j.owner.request("set 3 6 40"); got != "ok" {
					t.Error(got)
				}
			})
		}
	})
	q := j.question(j.idle(inetdiag.CloseWait))
	a.run()
	a.want(q, prober.Alive, prober.NoObstacle)
	j.wantOptions("0 7200 75 40 0")
	a.clean()
}

func TestSocketsThatAQuestionCouldHarmAreNotAskedAbout(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	lingering, classed := s.shutPeer("owner"), s.shutPeer("owner")
	lingering.owner.must("ok", "linger 3 3600")
	a := ask(t)
	q, c := lingering.question(lingering.idle(inetdiag.CloseWait)), classed.question(classed.idle(inetdiag.CloseWait))
	s.far.SetLink(t, nstest.LinkName, false)
	a.want(q, prober.NotAsked, prober.Linger)
	lingering.wantOptions(untouched)
	dies := c
	dies.Owners = []prober.Owner{{PID: classed.owner.PID, DiesOfSigpipe: true}}
	a.want(dies, prober.NotAsked, prober.Sigpipe)
	other := newAsker(t, t.TempDir())
	other.SetClass(0x100001)
	other.run()
	other.want(c, prober.NotAsked, prober.NetCls)
	classed.wantOptions(untouched)
	s.far.SetLink(t, nstest.LinkName, true)
	dies.AskSigpipe = true
	a.want(dies, prober.Alive, prober.NoObstacle)
	if got := a.Stats(); got.Obstacles[prober.Linger] != 1 || got.Obstacles[prober.Sigpipe] != 1 || got.Answers[prober.NotAsked] != 2 {
		t.Errorf("the figures are %+v", got)
	}
	a.clean()
}

// hasNetCls reports whether there is a hierarchy of net_cls.
func hasNetCls(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), "net_cls")
}

// netCls creates a group of cgroup v1's net_cls with a class, and returns its directory. The hierarchy is unmounted
// when the test ends.
func netCls(t *testing.T, class int) string {
	t.Helper()
	dir := t.TempDir()
	if hasNetCls(t) {
		t.Skip("net_cls is mounted already")
	}
	if err := unix.Mount("cgroup", dir, "cgroup", 0, "net_cls"); err != nil {
		t.Skipf("mount net_cls: %v: the kernel has no such controller, or it is in use", err)
	}
	group := filepath.Join(dir, "group")
	t.Cleanup(func() {
		nstest.Eventually(t, patience, "the group is removed", func() bool {
			err := unix.Rmdir(group)
			return err == nil || errors.Is(err, unix.ENOENT)
		})
		// The hierarchy outlives its mount if the kernel has not released the group by then: it goes with the next one.
		for {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
			for range 200 {
				if !hasNetCls(t) {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			if err := unix.Mount("cgroup", dir, "cgroup", 0, "net_cls"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	err := os.Mkdir(group, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(group, "net_cls.classid"), strconv.AppendInt(nil, int64(class), 10), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return group
}

func TestSocketWithANetClsClassIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	const class = 0x100001
	group := netCls(t, class)
	s := newScene(t)
	j, plain := s.shutPeer("owner"), s.shutPeer("owner")
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), strconv.AppendInt(nil, int64(j.owner.PID), 10), 0); err != nil {
		t.Fatal(err)
	}
	a := ask(t)
	q, p := j.question(j.idle(inetdiag.CloseWait)), plain.question(plain.idle(inetdiag.CloseWait))
	a.want(q, prober.NotAsked, prober.NetCls)
	a.want(p, prober.Alive, prober.NoObstacle)
	if got, _ := j.lookup(); got.ClassID != class {
		t.Errorf("the socket's class is %#x, want %#x", got.ClassID, class)
	}
	j.wantOptions(untouched)
	a.clean()
}

// It is not parallel: while a thread has a duplicate, this process must start no other process.
func TestBlockedThreadsDelayNoOtherSocketAndSuspendAsking(t *testing.T) {
	s := newScene(t)
	const n = 4
	pairs := make([]nstest.Pair, n+1)
	for i := range pairs {
		pairs[i] = s.connect()
		if err := pairs[i].Server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	all := s.give("owner", pairs...)
	a := newAsker(t, t.TempDir())
	a.SetPatience(100 * time.Millisecond)
	release := make(chan struct{})
	var blocked atomic.Int32
	a.Pause(func(at string, _ int) {
		if at == "armed" && blocked.Add(1) <= n {
			<-release
		}
	})
	questions := make([]prober.Question, n+1)
	for i, j := range all {
		questions[i] = j.question(j.idle(inetdiag.CloseWait))
	}
	a.run()
	a.Ask(questions[:n]) // one batch: each time a thread is stuck, another continues
	for _, got := range a.await(n) {
		if got.Result != prober.NotAsked || !errors.Is(got.Err, prober.ErrStuck) {
			t.Errorf("the answer of a blocked thread is %v, %v", got.Result, got.Err)
		}
	}
	if got := a.Stats(); got.Stuck != n || !got.Suspended {
		t.Errorf("%d threads are stuck, suspended: %v", got.Stuck, got.Suspended)
	}
	if got := a.want(questions[n], prober.NotAsked, prober.NoObstacle); !errors.Is(got.Err, prober.ErrStuck) {
		t.Errorf("the error is %v", got.Err)
	}
	close(release)
	a.clean() // the options that they had armed are restored
	if got := a.Stats(); got.Stuck != 0 || got.Suspended {
		t.Errorf("%d threads are stuck, suspended: %v", got.Stuck, got.Suspended)
	}
	for _, got := range []prober.Question{questions[0], questions[n]} {
		a.want(got, prober.Alive, prober.NoObstacle)
	}
	for _, j := range all {
		j.wantOptions(untouched)
	}
}

// A duplicate that became the last reference of a socket that lingers blocks the thread that closes it, until a signal
// comes.
func TestLingeringLastReferenceBlocksOnlyItsThread(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	a := newAsker(t, t.TempDir())
	a.SetPatience(100 * time.Millisecond)
	a.Pause(func(at string, _ int) {
		if at == "armed" { // the owner closes it while the duplicate is held
			for _, line := range []string{"linger 3 3600", "close 3"} {
				if got := j.owner.request("%s", line); got != "ok" {
					t.Errorf("%s: %s", line, got)
				}
			}
		}
	})
	q := j.question(j.idle(inetdiag.CloseWait))
	s.far.SetLink(t, nstest.LinkName, false) // the close waits for the peer, which never answers
	a.run()
	a.Ask([]prober.Question{q})
	if got := a.await(1)[0]; got.Result != prober.Closed && !errors.Is(got.Err, prober.ErrStuck) {
		t.Errorf("the answer is %v, %v", got.Result, got.Err)
	}
	a.clean()
	if got := a.Stats(); got.Stuck != 0 {
		t.Errorf("%d threads are stuck", got.Stuck)
	}
}
