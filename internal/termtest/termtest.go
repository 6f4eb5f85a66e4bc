// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package termtest is a terminal for tests of what is shown on a full screen.
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

// The sequences between which a frame is, and those that take another screen and give it back (xterm's control
// sequences).
const (
	beginFrame = "\x1b[H"
	endFrame   = "\x1b[?2026l"
	takeScreen = "\x1b[?1049h"
	giveScreen = "\x1b[?1049l"
)

// Terminal is a terminal that lasts as long as the test.
type Terminal struct {
	TTY  *os.File // for the program
	keys *os.File // the terminal's own end

	settings unix.Termios // at the beginning

	mu      sync.Mutex
	written strings.Builder
}

// New makes a terminal of a size.
func New(t *testing.T, width, height int) *Terminal {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := &Terminal{keys: keys, TTY: tty}
	p.Resize(t, width, height)
	p.settings = p.Settings(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
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
		_, _ = keys.WriteString("\n") // for who still waits for a key, and holds the terminal open
		tty.Close()
		<-ended // the other end has gone
		keys.Close()
	})
	return p
}

// Resize makes it larger or smaller; the kernel tells the programs in its foreground.
func (p *Terminal) Resize(t *testing.T, width, height int) {
	t.Helper()
	if err := pty.Setsize(p.TTY, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		t.Fatal(err)
	}
}

// Settings are those of the line discipline.
func (p *Terminal) Settings(t *testing.T) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(p.TTY.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}

// Written is all that has been written to it.
func (p *Terminal) Written() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written.String()
}

// Frame is the last whole frame, with its styles.
func (p *Terminal) Frame() string {
	text := p.Written()
	end := strings.LastIndex(text, endFrame)
	start := strings.LastIndex(text[:max(0, end)], beginFrame)
	if start < 0 {
		return ""
	}
	return text[start+len(beginFrame) : end]
}

// Press types keys.
func (p *Terminal) Press(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// within bounds what should happen at once, for a machine that is busy with everything else.
const within = 30 * time.Second

// Shows waits until the frame holds a text, in a style if that is given with it.
func (p *Terminal) Shows(t *testing.T, what string) {
	t.Helper()
	styles := regexp.MustCompile("\x1b\\[[0-9;]*[mK]")
	p.Until(t, "it shows "+what, func() bool {
		frame := p.Frame()
		return strings.Contains(frame, what) || strings.Contains(styles.ReplaceAllString(frame, ""), what)
	})
}

// Until waits until something is so.
func (p *Terminal) Until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("on the screen is:\n%s", p.Frame())
		}
	}()
	nstest.Eventually(t, within, what, cond)
}

// Restored checks that the terminal is as it was before a screen was taken so many times.
func (p *Terminal) Restored(t *testing.T, times int) {
	t.Helper()
	if diff := cmp.Diff(p.settings, p.Settings(t)); diff != "" {
		t.Errorf("the terminal's settings (-before +now)\n%s", diff)
	}
	p.Until(t, "the screen is given back", func() bool { return strings.Count(p.Written(), giveScreen) >= times })
	all := p.Written()
	if taken, given := strings.Count(all, takeScreen), strings.Count(all, giveScreen); taken != times || given != times {
		t.Errorf("a screen was taken %d times and given back %d times, want %d", taken, given, times)
	}
	rest := all[max(0, strings.LastIndex(all, giveScreen)):]
	if strings.Contains(rest, beginFrame) || strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") {
		t.Errorf("after that it shows frames, or no cursor: %q", rest)
	}
}
