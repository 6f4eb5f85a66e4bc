// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// screen is what the output is shown on.
type screen struct {
	width  int  // in columns; 0 where a line may be as long as it is
	colour bool // whether escape sequences colour it
}

// usualWidth is taken where nothing says how wide a line may be.
const usualWidth = 80

// screen looks at what stdout is: on a terminal its width and colours, unless NO_COLOR is set or TERM is
// dumb; elsewhere the width that COLUMNS says, and no colours.
func (e *env) screen() screen {
	width, terminal := terminalWidth(e.out)
	s := screen{width: width, colour: terminal && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"}
	if s.width <= 0 {
		s.width, _ = strconv.Atoi(e.getenv("COLUMNS"))
	}
	if s.width <= 0 {
		s.width = usualWidth
	}
	if e.output == outputWide {
		s.width = 0
	}
	return s
}

// terminalWidth reports whether w is a terminal, and how many columns it has: 0 if it does not know.
func terminalWidth(w any) (width int, terminal bool) {
	f, ok := w.(syscall.Conn)
	if !ok {
		return 0, false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = conn.Control(func(fd uintptr) {
		if size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil {
			width, terminal = int(size.Col), true
		}
	})
	return width, terminal && err == nil
}

// style is how text is shown: the parameters of SGR (ECMA-48, section 8.3.117).
type style string

// The styles. A colour never says what the text does not say too.
const (
	plain  style = ""
	strong style = "1"  // headers
	bad    style = "31" // red: it has come to harm, or will
	odd    style = "33" // yellow: somebody should look at it
	good   style = "32" // green
)

// paint gives text a style, where there are colours.
func (s screen) paint(st style, text string) string {
	if !s.colour || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}
