// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
)

// patience bounds the wait for an immediate effect on a busy machine.
const patience = 30 * time.Second

// fakeReaper is a Source with the answers of a test.
type fakeReaper struct {
	mu      sync.Mutex
	status  api.Status
	sockets api.SocketList
	err     error
	queries []api.SocketQuery
	// statuses counts the requests for the status.
	statuses int
}

func (s *fakeReaper) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *fakeReaper) Status(context.Context) (api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses++
	return s.status, s.err
}

func (s *fakeReaper) Sockets(_ context.Context, q api.SocketQuery) (api.SocketList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
	list := api.SocketList{}
	for _, v := range s.sockets.Sockets {
		if !q.Owners {
			v.Owners = nil
		}
		list.Sockets = append(list.Sockets, v)
	}
	return list, s.err
}

func (s *fakeReaper) History(context.Context, api.HistoryQuery) (api.HistoryPage, error) {
	return api.HistoryPage{}, errors.New("unexpected request for the history")
}

// startSession starts a session on a terminal.
func startSession(t *testing.T, p *termtest.Terminal, src Source) (stop func(), result <-chan error) {
	t.Helper()
	m := newModel(30)
	m.interval = 20 * time.Millisecond
	screen := newFullScreen(p.TTY, p.TTY, true)
	s := session{model: m, term: screen, src: src, now: time.Now, answers: make(chan answer)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.run(ctx), screen.close()) }()
	return cancel, done
}

func TestTopOnATerminal(t *testing.T) {
	p := termtest.New(t, 80, 24)
	src := &fakeReaper{status: nodeStatus(30), sockets: podSockets(40)}
	_, result := startSession(t, p, src)
	p.Shows(t, "shop/web-2")
	if p.Settings(t).Lflag&unix.ECHO != 0 {
		t.Error("input is echoed")
	}
	p.Press(t, "a")
	p.Shows(t, "\x1b[7mage")
	p.Press(t, "c\r")
	p.Shows(t, "halfclose shop/web-2")
	p.Shows(t, "held by nginx[7]")
	p.Press(t, "\x1b[B\x1b[B")
	p.Shows(t, "10.0.0.2:443 from 10.0.0.3:50002")
	p.Press(t, "\x1b")
	p.Shows(t, "sort by")
	p.Press(t, "p")
	p.Shows(t, "PAUSED")
	src.mu.Lock()
	statuses := src.statuses
	src.mu.Unlock()
	p.Press(t, "jjjj") // takes at least four intervals, because each key is shown
	p.Shows(t, "\x1b[7m  shop/web-3")
	src.mu.Lock()
	if src.statuses > statuses+1 {
		t.Errorf("%d requests during the pause", src.statuses-statuses)
	}
	src.mu.Unlock()
	p.Press(t, "p")
	p.Shows(t, "every 20ms")
	p.Resize(t, 50, 12)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "the frame fits the smaller terminal", func() bool { return strings.Count(p.Frame(), "\r\n") == 11 })
	p.Press(t, "q")
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
	if strings.Contains(p.Written(), "\x1b[2J") {
		t.Error("the screen is cleared, which flickers")
	}
	byOwners := map[bool]int{}
	for _, q := range src.queries {
		byOwners[q.Owners]++
	}
	if byOwners[true] != 1 || byOwners[false] < 1 {
		t.Errorf("%d of %d requests for sockets ask for owners, want 1", byOwners[true], len(src.queries))
	}
}

func TestALostReaperIsShownUntilItIsBack(t *testing.T) {
	p := termtest.New(t, 80, 24)
	src := &fakeReaper{status: nodeStatus(30)}
	_, result := startSession(t, p, src)
	p.Shows(t, "\x1b[1mhalfclose")
	src.set(errors.New("no reaper is running: start one"))
	p.Shows(t, "no answer since")
	if frame := p.Frame(); !strings.Contains(frame, "\x1b[2mMode") || !strings.Contains(frame, "shop/web-2") || strings.Contains(frame, "\x1b[31m") {
		t.Errorf("the last answer is not shown in a faint style:\n%q", frame)
	}
	src.set(nil)
	nstest.Eventually(t, patience, "the next answer is shown", func() bool {
		return !strings.Contains(p.Frame(), "no answer since") && strings.Contains(p.Frame(), "\x1b[1mhalfclose")
	})
	p.Press(t, "\x03")
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestASessionEndsWithItsContext(t *testing.T) {
	p := termtest.New(t, 80, 24)
	stop, result := startSession(t, p, &fakeReaper{status: nodeStatus(3)})
	p.Shows(t, "shop/web-2")
	stop()
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestABlockedTerminalDoesNotBlockTheSession(t *testing.T) {
	keys, tty, err := pty.Open() // no goroutine reads from keys
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	defer tty.Close()
	p := &termtest.Terminal{TTY: tty}
	p.Resize(t, 500, 200)
	before := p.Settings(t)
	stop, result := startSession(t, p, &fakeReaper{status: nodeStatus(30)})
	nstest.Eventually(t, patience, "the buffer of the terminal is full", func() bool {
		fds := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 0
	})
	stop()
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the session has not ended")
	}
	if diff := cmp.Diff(before, p.Settings(t)); diff != "" {
		t.Errorf("the terminal's settings (-before +now)\n%s", diff)
	}
}

func TestAPanicRestoresTheTerminal(t *testing.T) {
	p := termtest.New(t, 80, 24)
	screen := newFullScreen(p.TTY, p.TTY, true)
	if err := screen.enter(); err != nil {
		t.Fatal(err)
	}
	recovered := func() (v any) {
		defer func() { v = recover() }()
		defer screen.restoreOnPanic()
		panic("a mistake of ours")
	}()
	if recovered != "a mistake of ours" {
		t.Errorf("the panic is %v", recovered)
	}
	p.Restored(t, 1)
	if err := screen.close(); err != nil {
		t.Error(err)
	}
}
