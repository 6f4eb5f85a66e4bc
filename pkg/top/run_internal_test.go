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
	"github.com/halfclose/halfclose/pkg/term"
)

// patience bounds the wait for an immediate effect on a busy machine.
const patience = 30 * time.Second

// fakeReaper is a Source with the answers of a test.
type fakeReaper struct {
	mu      sync.Mutex
	status  api.Status
	sockets api.SocketList
	err     error
	hangs   bool // until the context of the request is done
}

func (s *fakeReaper) set(err error, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.hangs = err, hangs
}

func (s *fakeReaper) Status(ctx context.Context) (api.Status, error) {
	s.mu.Lock()
	status, err, hangs := s.status, s.err, s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		err = ctx.Err()
	}
	return status, err
}

func (s *fakeReaper) Sockets(_ context.Context, q api.SocketQuery) (api.SocketList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := api.SocketList{}
	for _, v := range s.sockets.Sockets {
		if !q.Owners {
			v.Owners = nil
		}
		list.Sockets = append(list.Sockets, v)
	}
	return list, s.err
}

func (s *fakeReaper) Leaks(context.Context, api.LeakQuery) (api.LeakList, error) {
	return api.LeakList{Groups: leakGroups()}, s.err
}

func (s *fakeReaper) History(context.Context, api.HistoryQuery) (api.HistoryPage, error) {
	return api.HistoryPage{History: "one"}, s.err
}

// start shows the view of a reaper on a terminal.
func start(t *testing.T, tty *os.File, src Source) (stop func(), result <-chan error) {
	t.Helper()
	view, err := Open(t.Context(), Config{Source: src, Interval: 20 * time.Millisecond, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- view.Run(ctx, tty, tty, term.Screen{Colour: true}) }()
	return cancel, done
}

func TestTopOnATerminal(t *testing.T) {
	p := termtest.New(t, 80, 24)
	_, result := start(t, p.TTY, &fakeReaper{status: nodeStatus(30), sockets: podSockets(40)})
	p.Shows(t, "shop/web-2")
	if p.Settings(t).Lflag&unix.ECHO != 0 {
		t.Error("input is echoed")
	}
	p.Press(t, "s")
	p.Shows(t, "sort: age")
	p.Press(t, "sss\r")
	p.Shows(t, "halfclose shop/web-2")
	p.Shows(t, "held by nginx[7]")
	p.Press(t, "\x1b[B\x1b[B")
	p.Shows(t, "10.0.0.2:443 from 10.0.0.3:50002")
	p.Press(t, "\x1b")
	p.Shows(t, "[Pods]")
	p.Press(t, "/web-12\r")
	p.Shows(t, "1 of 30")
	p.Press(t, "2")
	p.Shows(t, "310 sockets to 10.0.9.9:443")
	p.Press(t, "3")
	p.Shows(t, "[History]")
	p.Press(t, "1p")
	p.Shows(t, "PAUSED")
	p.Press(t, "p")
	p.Shows(t, "every 20ms")
	p.Resize(t, 50, 12)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	p.Until(t, "the screen fits the smaller terminal", func() bool {
		lines := strings.Split(p.Screen(), "\n")
		return len(lines) == 12 && strings.Contains(lines[11], "q quit")
	})
	p.Press(t, "q")
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestALostReaperComesBack(t *testing.T) {
	p := termtest.New(t, 80, 24)
	src := &fakeReaper{status: nodeStatus(30)}
	_, result := start(t, p.TTY, src)
	p.Shows(t, "shop/web-2")
	src.set(errors.New("no reaper is running: start one"), false)
	p.Shows(t, "no answer since")
	p.Shows(t, "shop/web-2") // the last known state
	src.set(nil, false)
	p.Until(t, "the next answer is shown", func() bool { return !strings.Contains(p.Screen(), "no answer since") })
	src.set(nil, true)
	p.Shows(t, "waiting for the reaper ...")
	p.Press(t, "?")
	p.Shows(t, "halfclose help") // nothing blocks the screen
	p.Press(t, "\x03")
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

// partial is a Source that answers only with its status.
type partial struct{ fakeReaper }

func (*partial) Sockets(context.Context, api.SocketQuery) (api.SocketList, error) {
	return api.SocketList{}, errors.New("no list")
}

func TestAMissingPartIsANote(t *testing.T) {
	src := &partial{fakeReaper{status: nodeStatus(3)}}
	a := ask(t.Context(), src, question{history: true, leaks: true, pod: "web"}, time.Now)
	if a.err != nil || a.note != "no list" || a.pod != "" || !a.history || !a.leaks || len(a.list.Groups) == 0 {
		t.Errorf("the answer is %+v", a)
	}
	m := newScreen(3, 80, 24)
	m.Update(a)
	if !strings.HasSuffix(text(m), "\nno list\n") || !strings.Contains(text(m), "shop/web-2") {
		t.Errorf("the screen is\n%s", text(m))
	}
	next(m, unchanged)
	if strings.Contains(text(m), "no list") {
		t.Errorf("after a whole answer the screen is\n%s", text(m))
	}
}

func TestTheViewEndsWithItsContext(t *testing.T) {
	p := termtest.New(t, 80, 24)
	stop, result := start(t, p.TTY, &fakeReaper{status: nodeStatus(3)})
	p.Shows(t, "shop/web-2")
	stop()
	if err := <-result; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestATerminalThatReadsNothingIsRestoredToo(t *testing.T) {
	keys, tty, err := pty.Open() // no goroutine reads from keys
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	defer tty.Close()
	p := &termtest.Terminal{TTY: tty}
	p.Resize(t, 80, 24)
	before := p.Settings(t)
	fd := int(tty.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = unix.Write(fd, make([]byte, 1024)) // until the buffer of the terminal is full
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	stop, result := start(t, tty, &fakeReaper{status: nodeStatus(30)})
	nstest.Eventually(t, patience, "the terminal's input is raw", func() bool { return p.Settings(t).Lflag&unix.ICANON == 0 })
	stop()
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the view has not ended")
	}
	if diff := cmp.Diff(before, p.Settings(t)); diff != "" {
		t.Errorf("the terminal's settings (-before +now)\n%s", diff)
	}
}
