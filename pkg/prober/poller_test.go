// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/prober"
)

// pollerMain is an owner that polls with epoll, level-triggered, for errors and hang-ups. It closes a socket with such
// an event without EPOLL_CTL_DEL, because close is enough according to epoll(7). The lines on its standard input are
// "connect ADDRESS N" and "report". The answer to report is the number of closed sockets, and the number of events for
// closed ones.
func pollerMain() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	owned := make(map[int32]int) // descriptors, by a number that no other socket gets
	var next int32
	closed, late := 0, 0
	events := make([]unix.EpollEvent, 64)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			if line == "report" {
				fmt.Println(closed, "closed", late, "late")
				continue
			}
			var n int
			var address string
			if _, err := fmt.Sscanf(line, "connect %s %d", &address, &n); err != nil {
				return err
			}
			for range n {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err == nil {
					err = connectTo(fd, address)
				}
				if err == nil {
					err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: next})
				}
				if err != nil {
					return err
				}
				owned[next] = fd
				next++
			}
			fmt.Println("ok")
		default:
		}
		n, err := unix.EpollWait(epoll, events, 10)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			fd, ok := owned[e.Fd]
			if !ok {
				late++
				continue
			}
			delete(owned, e.Fd)
			if err := unix.Close(fd); err != nil {
				return err
			}
			closed++
		}
	}
}

const pollerSockets = 1000

// polled is a scene with a process that polls sockets whose peers have closed.
type polled struct {
	*scene
	owner *process
}

// newPolled returns a scene in which the sockets are in CLOSE_WAIT, and their peers' orphans have two seconds to live.
func newPolled(t *testing.T) *polled {
	t.Helper()
	s := newScene(t)
	s.sysctl(s.far, "tcp_fin_timeout", 2)
	go func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	p := &polled{scene: s, owner: start(t, s.near, play("poller"))}
	if got := p.owner.request("connect %s %d", s.listener.Addr(), pollerSockets); got != "ok" {
		t.Fatal(got)
	}
	nstest.Eventually(t, 4*patience, "all sockets are in CLOSE_WAIT, and idle", func() bool { return len(p.questions(time.Second)) == pollerSockets })
	return p
}

// questions returns the questions about the sockets in CLOSE_WAIT that have been idle for that time.
func (p *polled) questions(idle time.Duration) (all []prober.Question) {
	p.Helper()
	j := &judged{scene: p.scene, owner: p.owner}
	p.near.Do(p, func() {
		c, err := inetdiag.Open()
		if err != nil {
			p.Error(err)
			return
		}
		defer c.Close()
		if err := c.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(s *inetdiag.Socket) error {
			if s.State == inetdiag.CloseWait && s.Inode != 0 && min(s.Info.LastAckRecv, s.Info.LastDataRecv) >= idle {
				q := j.question(*s)
				q.Tag = uint64(len(all))
				all = append(all, q)
			}
			return nil
		}); err != nil {
			p.Error(err)
		}
	})
	return all
}

// wantAllClosed waits until the owner has closed all sockets, and checks the number of its events for closed ones. The
// prober cannot prevent such events if a thread holds a duplicate for longer than 250 ms (probeMargin).
func (p *polled) wantAllClosed(longest time.Duration) {
	p.Helper()
	got := ""
	nstest.Eventually(p, patience, "the owner has closed all its sockets", func() bool {
		got = p.owner.request("report")
		return strings.HasPrefix(got, strconv.Itoa(pollerSockets)+" closed ")
	})
	time.Sleep(100 * time.Millisecond) // events of a closed descriptor repeat, but there is no condition for the first one
	got, want := p.owner.request("report"), fmt.Sprint(pollerSockets, " closed 0 late")
	switch {
	case got == want:
	case longest > 250*time.Millisecond:
		p.Skipf("the machine is too busy: a pause of 100 ms took %v", longest)
	default:
		p.Errorf("the owner of %d sockets reports %s, want %s", pollerSockets, got, want)
	}
}

// askUntilAllEnd waits for the answers about all sockets, asks again about each peer that is alive, and returns the
// number of final answers of each kind.
func askUntilAllEnd(p *prober.Prober, all []prober.Question, answers <-chan prober.Answer) string {
	ends := make(map[string]int)
	for ended := 0; ended < len(all); {
		a := <-answers
		if a.Result == prober.Alive {
			p.Ask(all[a.Question.Tag : a.Question.Tag+1])
			continue
		}
		ended++
		ends[strings.TrimSpace(fmt.Sprint(a.Result, " ", a.Obstacle, " ", a.Err))]++
	}
	return fmt.Sprint(ends)
}

const pauseTime = 100 * time.Millisecond

// watchPauses measures until the end of the test how long a pause of pauseTime takes on this machine: a thread of the prober
// may be delayed as long as one of the test's. It returns the longest pause so far.
func watchPauses(t *testing.T) (longest func() time.Duration) {
	var most atomic.Int64
	var watchers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 { // they begin at different times
		watchers.Go(func() {
			for {
				began := time.Now()
				select {
				case <-time.After(pauseTime):
				case <-stop:
					return
				}
				for took := int64(time.Since(began)); ; {
					if was := most.Load(); took <= was || most.CompareAndSwap(was, took) {
						break
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		watchers.Wait()
	})
	return func() time.Duration { return time.Duration(most.Load()) }
}

func TestPollingOwnerGetsNoEventOfAClosedDescriptor(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]string{
		"nothing pauses":                         "",
		"a thread pauses before it closes":       "armed",
		"a thread pauses before it sets":         "arm",
		"a thread pauses before it has read":     "inspect",
		"a thread pauses before it sets it back": "restore",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPolled(t)
			a := newAsker(t, t.TempDir())
			a.SetPatience(time.Second) // as outside of tests
			var calls atomic.Int64
			longest := watchPauses(t)
			a.Pause(func(step string, _ int) {
				if step == pause && calls.Add(1)%50 == 0 {
					time.Sleep(pauseTime)
				}
			})
			a.run()
			all := p.questions(0)
			a.Ask(all)
			ends := make(map[prober.Result]int)
			for seen, ended := 0, 0; ended < len(all); {
				got := a.await(seen + 1)
				for _, g := range got[seen:] {
					if g.Result == prober.Alive {
						a.Ask(all[g.Question.Tag : g.Question.Tag+1])
						continue
					}
					ended++
					ends[g.Result]++
				}
				seen = len(got)
			}
			t.Logf("the answers are %v", ends)
			p.wantAllClosed(longest())
			a.clean()
		})
	}
}

func TestPollingOwnerGetsNoEventOfAClosedDescriptorWhileTheProberIsThrottled(t *testing.T) {
	t.Parallel()
	quota := nstest.NewQuota(t, 5*time.Millisecond, 100*time.Millisecond)
	p := newPolled(t)
	throttled := start(t, nil, play("prober"))
	quota.Add(t, throttled.PID)
	got := throttled.request("%s", order{Dir: t.TempDir(), Netns: p.netns, Owner: p.owner.PID, Until: true}.encode(t))
	t.Logf("the answers are %s", got)
	p.wantAllClosed(0)
}
