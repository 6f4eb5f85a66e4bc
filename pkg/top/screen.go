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

// Control sequences of ECMA-48 and xterm. Mode 2026 lets terminals that have it show a frame only when it is whole.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // alternate screen, no cursor, no line wrap
	leaveScreen = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h\x1b[H"
	endFrame    = "\x1b[?2026l"
	endOfLine   = "\x1b[K"
)

// fullScreen is the terminal that a full screen is shown on.
type fullScreen struct {
	in, out *os.File
	colour  bool

	mu      sync.Mutex
	before  *xterm.State // what restore restores; nil before enter
	control []byte       // to write first
	frame   []byte       // to write next; a newer frame replaces it
	written []chan struct{}
	wake    chan struct{} // one of the three above was set
}

// newFullScreen starts the goroutine that writes to the terminal, until close. A terminal that reads nothing, such as
// one behind a network that hangs, delays that goroutine alone.
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
func (t *fullScreen) wakeWriter() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// enter makes the terminal a full screen whose keys come one by one. It may be called again, after another program has
// changed the terminal.
func (t *fullScreen) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, err := xterm.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal up for a full screen: %w", err)
	}
	if t.before == nil {
		t.before = was
	}
	t.control = append(t.control, enterScreen...)
	t.wakeWriter()
	return nil
}

// flushWithin is how long restore waits for the terminal to read the last bytes.
const flushWithin = time.Second

// restore makes the terminal what it was before enter, and waits up to flushWithin for it to show that. It may be
// called at any time, and again.
func (t *fullScreen) restore() error {
	t.mu.Lock()
	before := t.before
	if before == nil {
		t.mu.Unlock()
		return nil
	}
	written := make(chan struct{})
	t.before, t.frame, t.written = nil, nil, append(t.written, written)
	t.control = append(t.control, leaveScreen...)
	t.wakeWriter()
	t.mu.Unlock()
	late := time.NewTimer(flushWithin)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
	if err := xterm.Restore(int(t.in.Fd()), before); err != nil && !errors.Is(err, unix.EIO) { // EIO: it is gone
		return fmt.Errorf("restore the terminal: %w", err)
	}
	return nil
}

// close restores the terminal and ends the goroutine that writes to it.
func (t *fullScreen) close() error {
	err := t.restore()
	close(t.wake)
	return err
}

// restoreOnPanic restores the terminal if the goroutine that defers it panics, so that the panic can be read.
func (t *fullScreen) restoreOnPanic() {
	if v := recover(); v != nil {
		_ = t.restore() // the panic is what matters
		panic(v)        //nolint:forbidigo // it is the panic that was under way
	}
}

// size is the size of the screen; 80x24 if the terminal does not know.
func (t *fullScreen) size() (width, height int) {
	width, height, err := xterm.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return term.UsualWidth, 24
	}
	return width, height
}

// show draws a frame over the one before, in one write, and clears only what the frame does not cover: so it does not
// flicker. After a line that fills the screen it clears nothing: that would be the last column.
func (t *fullScreen) show(lines []line, width int, faded bool) {
	var b strings.Builder
	b.WriteString(beginFrame)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		l.draw(&b, t.colour, faded)
		if l.width() < width {
			b.WriteString(endOfLine)
		}
	}
	b.WriteString(endFrame)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.before != nil {
		t.frame = []byte(b.String())
		t.wakeWriter()
	}
}
