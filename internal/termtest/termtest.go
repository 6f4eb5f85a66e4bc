// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package termtest provides a terminal for tests of full screens.
package termtest

import (
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The control sequences that enter and leave the alternate screen.
const (
	enterScreen = "\x1b[?1049h"
	leaveScreen = "\x1b[?1049l"
)

// Terminal is a terminal of a test: it has the screen that an emulator draws, and answers the program's queries.
type Terminal struct {
	TTY  *os.File // for the program
	keys *os.File // the terminal's end

	settings unix.Termios // at the start

	mu       sync.Mutex
	written  strings.Builder
	emulator *vt.Emulator
}

// New creates a terminal of a size.
func New(t *testing.T, width, height int) *Terminal {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := &Terminal{keys: keys, TTY: tty, emulator: vt.NewEmulator(width, height)}
	p.Resize(t, width, height)
	p.settings = p.Settings(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, err := keys.Read(b)
			p.mu.Lock()
			p.written.Write(b[:n])
			_, _ = p.emulator.Write(b[:n]) // it fails only when closed
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		_, _ = io.Copy(keys, p.emulator)
	}()
	t.Cleanup(func() {
		// Close of the emulator races with its Read; closing the pipe between the two does not.
		_ = p.emulator.InputPipe().(io.Closer).Close()
		<-answers
		_, _ = keys.WriteString("\n") // unblocks a reader that holds the terminal open
		tty.Close()
		<-done
		keys.Close()
	})
	return p
}

// Resize changes the size. The kernel sends SIGWINCH to the foreground processes.
func (p *Terminal) Resize(t *testing.T, width, height int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.emulator != nil {
		p.emulator.Resize(width, height)
	}
	if err := pty.Setsize(p.TTY, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		t.Fatal(err)
	}
}

// Settings returns the settings of the line discipline.
func (p *Terminal) Settings(t *testing.T) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(p.TTY.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}

// Written returns all output to the terminal.
func (p *Terminal) Written() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written.String()
}

// Screen returns the text of the screen.
func (p *Terminal) Screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.emulator.String()
}

// Styled returns the text of the screen with its styles.
func (p *Terminal) Styled() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.emulator.Render()
}

// Press writes keys to the terminal.
func (p *Terminal) Press(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// patience bounds the wait for an immediate effect on a busy machine.
const patience = 30 * time.Second

// Shows waits until the screen contains text.
func (p *Terminal) Shows(t *testing.T, text string) {
	t.Helper()
	p.Until(t, "the screen contains "+text, func() bool { return strings.Contains(p.Screen(), text) })
}

// Until waits until cond holds.
func (p *Terminal) Until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the screen is:\n%s", p.Screen())
		}
	}()
	nstest.Eventually(t, patience, what, cond)
}

// Restored checks that the terminal has its initial settings after times full screens.
func (p *Terminal) Restored(t *testing.T, times int) {
	t.Helper()
	if diff := cmp.Diff(p.settings, p.Settings(t)); diff != "" {
		t.Errorf("the terminal's settings (-before +now)\n%s", diff)
	}
	p.Until(t, "the screen is restored", func() bool { return strings.Count(p.Written(), leaveScreen) >= times })
	all := p.Written()
	if entered, left := strings.Count(all, enterScreen), strings.Count(all, leaveScreen); entered != times || left != times {
		t.Errorf("the screen was entered %d times and left %d times, want %d", entered, left, times)
	}
	if strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") {
		t.Errorf("after that there is no cursor: %q", all[max(0, strings.LastIndex(all, leaveScreen)):])
	}
}
