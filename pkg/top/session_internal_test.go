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

// soon bounds what should happen at once, for a machine that is busy with everything else.
const soon = 30 * time.Second

// saying is a reaper that says what the test wants.
type saying struct {
	mu      sync.Mutex
	status  api.Status
	sockets api.SocketList
	err     error
	asked   []api.SocketQuery
	looks   int
}

func (s *saying) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *saying) Status(context.Context) (api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.status, s.err
}

func (s *saying) Sockets(_ context.Context, q api.SocketQuery) (api.SocketList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	list := api.SocketList{}
	for _, v := range s.sockets.Sockets {
		if !q.Owners {
			v.Owners = nil
		}
		list.Sockets = append(list.Sockets, v)
	}
	return list, s.err
}

func (s *saying) History(context.Context, api.HistoryQuery) (api.HistoryPage, error) {
	return api.HistoryPage{}, errors.New("not asked for again")
}

// startSession starts a session on a terminal.
func startSession(t *testing.T, p *termtest.Terminal, src Source) (stop func(), ended <-chan error) {
	t.Helper()
	m := newModel(30)
	m.interval = 20 * time.Millisecond
	screen := newFullScreen(p.TTY, p.TTY, true)
	s := session{model: m, term: screen, src: src, now: time.Now, answers: make(chan answer)}
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- errors.Join(s.run(ctx), screen.close()) }()
	return cancel, end
}

func TestTopOnATerminal(t *testing.T) {
	p := termtest.New(t, 80, 24)
	src := &saying{status: nodeStatus(30), sockets: podSockets(40)}
	_, ended := startSession(t, p, src)
	p.Shows(t, "shop/web-2")
	if p.Settings(t).Lflag&unix.ECHO != 0 {
		t.Error("what is typed is echoed")
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
	looks := src.looks
	src.mu.Unlock()
	p.Press(t, "jjjj") // four times as long as the interval at least, since each is shown
	p.Shows(t, "\x1b[7m  shop/web-3")
	src.mu.Lock()
	if src.looks > looks+1 {
		t.Errorf("while it pauses it has looked %d times", src.looks-looks)
	}
	src.mu.Unlock()
	p.Press(t, "p")
	p.Shows(t, "every 20ms")
	p.Resize(t, 50, 12)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, soon, "the frame is as small as the terminal", func() bool { return strings.Count(p.Frame(), "\r\n") == 11 })
	p.Press(t, "q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
	if strings.Contains(p.Written(), "\x1b[2J") {
		t.Error("the screen is cleared, so it flickers")
	}
	asked := map[bool]int{}
	for _, q := range src.asked {
		asked[q.Owners]++
	}
	if asked[true] != 1 || asked[false] < 1 {
		t.Errorf("it has looked for owners %d times of %d", asked[true], len(src.asked))
	}
}

func TestTopShowsThatTheReaperHasGoneAndIsBack(t *testing.T) {
	p := termtest.New(t, 80, 24)
	src := &saying{status: nodeStatus(30)}
	_, ended := startSession(t, p, src)
	p.Shows(t, "\x1b[1mhalfclose")
	src.set(errors.New("no reaper is running: start one"))
	p.Shows(t, "no answer since")
	if frame := p.Frame(); !strings.Contains(frame, "\x1b[2mMode") || !strings.Contains(frame, "shop/web-2") || strings.Contains(frame, "\x1b[31m") {
		t.Errorf("what was last known is not there, and fainter:\n%q", frame)
	}
	src.set(nil)
	nstest.Eventually(t, soon, "it is shown again", func() bool {
		return !strings.Contains(p.Frame(), "no answer since") && strings.Contains(p.Frame(), "\x1b[1mhalfclose")
	})
	p.Press(t, "\x03")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestTopEndsWithItsContext(t *testing.T) {
	p := termtest.New(t, 80, 24)
	stop, ended := startSession(t, p, &saying{status: nodeStatus(3)})
	p.Shows(t, "shop/web-2")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	p.Restored(t, 1)
}

func TestATerminalThatTakesNothingHoldsNobodyUp(t *testing.T) {
	keys, tty, err := pty.Open() // nobody reads from keys
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	defer tty.Close()
	p := &termtest.Terminal{TTY: tty}
	p.Resize(t, 500, 200)
	before := p.Settings(t)
	stop, ended := startSession(t, p, &saying{status: nodeStatus(30)})
	nstest.Eventually(t, soon, "the terminal is full", func() bool {
		fds := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 0
	})
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(soon):
		t.Fatal("it has not ended")
	}
	if diff := cmp.Diff(before, p.Settings(t)); diff != "" {
		t.Errorf("the terminal's settings (-before +now)\n%s", diff)
	}
}

func TestAPanicGivesTheTerminalBack(t *testing.T) {
	p := termtest.New(t, 80, 24)
	screen := newFullScreen(p.TTY, p.TTY, true)
	if err := screen.enter(); err != nil {
		t.Fatal(err)
	}
	said := func() (v any) {
		defer func() { v = recover() }()
		defer screen.restoreOnPanic()
		panic("a mistake of ours")
	}()
	if said != "a mistake of ours" {
		t.Errorf("the panic says %v", said)
	}
	p.Restored(t, 1)
	if err := screen.close(); err != nil {
		t.Error(err)
	}
}
