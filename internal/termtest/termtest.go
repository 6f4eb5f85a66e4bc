// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package termtest provides a terminal for tests of full screens.
package termtest

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// xterm's control sequences around a frame. Others enter and leave the alternate screen.
const (
	beginFrame  = "\x1b[H"
	endFrame    = "\x1b[?2026l"
	enterScreen = "\x1b[?1049h"
	leaveScreen = "\x1b[?1049l"
)

// Terminal is a terminal of a test.
type Terminal struct {
	TTY  *os.File // for the program
	keys *os.File // the terminal's end

	settings unix.Termios // at the start

	mu      sync.Mutex
	written strings.Builder
}

// New creates a terminal of a size.
func New(t *testing.T, width, height int) *Terminal {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := &Terminal{keys: keys, TTY: tty}
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
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
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

// Frame returns the last whole frame with its styles.
func (p *Terminal) Frame() string {
	text := p.Written()
	end := strings.LastIndex(text, endFrame)
	start := strings.LastIndex(text[:max(0, end)], beginFrame)
	if start < 0 {
		return ""
	}
	return text[start+len(beginFrame) : end]
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

// Shows waits until the frame contains text, with or without its styles.
func (p *Terminal) Shows(t *testing.T, text string) {
	t.Helper()
	styles := regexp.MustCompile("\x1b\\[[0-9;]*[mK]")
	p.Until(t, "the frame contains "+text, func() bool {
		frame := p.Frame()
		return strings.Contains(frame, text) || strings.Contains(styles.ReplaceAllString(frame, ""), text)
	})
}

// Until waits until cond holds.
func (p *Terminal) Until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the frame is:\n%s", p.Frame())
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
	rest := all[max(0, strings.LastIndex(all, leaveScreen)):]
	if strings.Contains(rest, beginFrame) || strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") {
		t.Errorf("after that there are frames, or no cursor: %q", rest)
	}
}
