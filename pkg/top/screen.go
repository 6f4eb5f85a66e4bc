// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	xterm "golang.org/x/term"

	"github.com/halfclose/halfclose/pkg/term"
)

// Control sequences of ECMA-48 and xterm. Mode 2026 lets a terminal that supports it show only whole frames.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // alternate screen, no cursor, no line wrap
	leaveScreen = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h\x1b[H"
	endFrame    = "\x1b[?2026l"
	endOfLine   = "\x1b[K"
)

// fullScreen shows frames on a terminal.
type fullScreen struct {
	in, out *os.File
	colour  bool

	mu      sync.Mutex
	before  *xterm.State // the settings to restore; nil before enter
	control []byte       // control sequences to write before the frame
	frame   []byte       // the frame to write; a newer frame replaces it
	written []chan struct{}
	wake    chan struct{} // signals that one of the three fields above was set
}

// newFullScreen starts the goroutine that writes to the terminal until close. A terminal that blocks, such as one behind a
// hung network connection, blocks only that goroutine.
func newFullScreen(in, out *os.File, colour bool) *fullScreen {
	t := &fullScreen{in: in, out: out, colour: colour, wake: make(chan struct{}, 1)}
	go func() {
		for range t.wake {
			t.mu.Lock()
			b, written := append(t.control, t.frame...), t.written
			t.control, t.frame, t.written = nil, nil, nil
			t.mu.Unlock()
			_, _ = t.out.Write(b) // a terminal that is gone sends SIGHUP
			for _, ch := range written {
				close(ch)
			}
		}
	}()
	return t
}

// wakeWriter wakes the goroutine that writes. The caller holds mu.
func (s *fullScreen) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// enter switches the terminal to a full screen and to raw input. It may be called again after another program has changed
// the terminal.
func (s *fullScreen) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, err := xterm.MakeRaw(int(s.in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal up for a full screen: %w", err)
	}
	if s.before == nil {
		s.before = was
	}
	s.control = append(s.control, enterScreen...)
	s.wakeWriter()
	return nil
}

// flushTimeout bounds restore's wait for the terminal to read the last bytes.
const flushTimeout = time.Second

// restore reverts enter, and waits up to flushTimeout for the terminal to receive that. It may be called at any time, and
// again.
func (s *fullScreen) restore() error {
	s.mu.Lock()
	before := s.before
	if before == nil {
		s.mu.Unlock()
		return nil
	}
	written := make(chan struct{})
	s.before, s.frame, s.written = nil, nil, append(s.written, written)
	s.control = append(s.control, leaveScreen...)
	s.wakeWriter()
	s.mu.Unlock()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	select {
	case <-written:
	case <-timeout.C:
	}
	if err := xterm.Restore(int(s.in.Fd()), before); err != nil && !errors.Is(err, unix.EIO) { // EIO: the terminal is gone
		return fmt.Errorf("restore the terminal: %w", err)
	}
	return nil
}

// close restores the terminal and stops the goroutine that writes to it.
func (s *fullScreen) close() error {
	err := s.restore()
	close(s.wake)
	return err
}

// restoreOnPanic, deferred, restores the terminal if its goroutine panics, so that the panic can be read.
func (s *fullScreen) restoreOnPanic() {
	if v := recover(); v != nil {
		_ = s.restore() // the panic matters more
		panic(v)        //nolint:forbidigo // re-panics
	}
}

// size returns the size of the screen, 80x24 if it is unknown.
func (s *fullScreen) size() (width, height int) {
	width, height, err := xterm.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return term.UsualWidth, 24
	}
	return width, height
}

// show draws a frame over the last one in one write. To avoid flicker it clears only the rest of each line; after a line as
// wide as the screen that would clear the last column, so it does not.
func (s *fullScreen) show(lines []line, width int, faded bool) {
	var b strings.Builder
	b.WriteString(beginFrame)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		l.draw(&b, s.colour, faded)
		if l.width() < width {
			b.WriteString(endOfLine)
		}
	}
	b.WriteString(endFrame)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before != nil {
		s.frame = []byte(b.String())
		s.wakeWriter()
	}
}
