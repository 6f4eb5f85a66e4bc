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

// What a terminal is told (ECMA-48 and xterm's control sequences; mode 2026 lets those terminals that know it
// show a frame only when it is whole).
const (
	takeScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // another screen, no cursor, no line goes on in the next
	giveScreen = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
	beginFrame = "\x1b[?2026h\x1b[H"
	endFrame   = "\x1b[?2026l"
	endOfLine  = "\x1b[K"
)

// fullScreen is the terminal that a full screen is shown on.
type fullScreen struct {
	in, out *os.File
	colour  bool

	mu      sync.Mutex
	before  *xterm.State // what to restore; nil while the terminal is as it was
	control []byte       // to be written before anything else
	frame   []byte       // to be written: the latest alone
	written []chan struct{}
	wake    chan struct{} // there is something to be written
}

// newFullScreen starts what writes to a terminal, until its close. That is a goroutine of its own: a terminal that
// takes nothing, such as one at the end of a network that hangs, must hold up nobody.
func newFullScreen(in, out *os.File, colour bool) *fullScreen {
	t := &fullScreen{in: in, out: out, colour: colour, wake: make(chan struct{}, 1)}
	go func() {
		for range t.wake {
			t.mu.Lock()
			b, written := append(t.control, t.frame...), t.written
			t.control, t.frame, t.written = nil, nil, nil
			t.mu.Unlock()
			_, _ = t.out.Write(b) // whoever took the terminal away ends this program too
			for _, ch := range written {
				close(ch)
			}
		}
	}()
	return t
}

// awake lets what is to be written be written. It needs the lock.
func (t *fullScreen) awake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take makes the terminal a full screen whose keys come one by one, again if it was one and something else has
// changed it.
func (t *fullScreen) take() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, err := xterm.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal up for a full screen: %w", err)
	}
	if t.before == nil {
		t.before = was
	}
	t.control = append(t.control, takeScreen...)
	t.awake()
	return nil
}

// flushWithin is how long a terminal may take for what it is given last.
const flushWithin = time.Second

// giveBack makes the terminal what it was, and waits a moment for it to show that. It may be called at any
// time, and again.
func (t *fullScreen) giveBack() error {
	t.mu.Lock()
	before := t.before
	if before == nil {
		t.mu.Unlock()
		return nil
	}
	written := make(chan struct{})
	t.before, t.frame, t.written = nil, nil, append(t.written, written)
	t.control = append(t.control, giveScreen...)
	t.awake()
	t.mu.Unlock()
	late := time.NewTimer(flushWithin)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
	if err := xterm.Restore(int(t.in.Fd()), before); err != nil && !errors.Is(err, unix.EIO) { // EIO: it has gone
		return fmt.Errorf("restore the terminal: %w", err)
	}
	return nil
}

// close gives the terminal back for good.
func (t *fullScreen) close() error {
	err := t.giveBack()
	close(t.wake)
	return err
}

// rescue gives the terminal back when the goroutine that defers it panics, for what that says to be seen.
func (t *fullScreen) rescue() {
	if v := recover(); v != nil {
		_ = t.giveBack() // the panic is what matters
		panic(v)         //nolint:forbidigo // it is the panic that was under way
	}
}

// size is how large the screen is; a terminal that does not know is as large as most.
func (t *fullScreen) size() (width, height int) {
	width, height, err := xterm.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return term.UsualWidth, 24
	}
	return width, height
}

// show draws a frame over the one before, in one piece: nothing is cleared that stays, so that nothing
// flickers. Of a line that fills the screen nothing is left to clear, and what is cleared there would be its
// last column.
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
		t.awake()
	}
}
