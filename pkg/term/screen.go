// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"

	xterm "golang.org/x/term"
)

// Screen is the terminal or file that text is written to.
type Screen struct {
	Width  int  // in columns; 0 is any width
	Colour bool // whether text has escape sequences for colours
}

// UsualWidth is the width of a screen of unknown width.
const UsualWidth = 80

// ScreenOf returns the screen that w writes to. A terminal has its own width, COLUMNS or UsualWidth if it has none, and
// colours unless NO_COLOR is set, TERM is dumb, or it is one of Windows other than Windows Terminal, which is the one that
// is sure to know them. A pipe or a file has any width, so that each row of a table is one line, and no colours.
func ScreenOf(w any, getenv func(string) string) Screen {
	width, terminal := terminalWidth(w)
	if !terminal {
		return Screen{}
	}
	s := Screen{Width: width, Colour: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
	if runtime.GOOS == "windows" && getenv("WT_SESSION") == "" {
		s.Colour = false
	}
	if s.Width <= 0 {
		s.Width, _ = strconv.Atoi(getenv("COLUMNS"))
	}
	if s.Width <= 0 {
		s.Width = UsualWidth
	}
	return s
}

// terminalWidth reports whether w is a terminal, and how many columns it has, 0 if that is unknown.
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
		if terminal = xterm.IsTerminal(int(fd)); terminal {
			width, _, _ = xterm.GetSize(int(fd)) // 0 if it is unknown
		}
	})
	return width, terminal && err == nil
}

// Style is the look of text: the parameters of SGR (ECMA-48, section 8.3.117).
type Style string

// The styles. Text must mean the same without its colour.
const (
	Plain   Style = ""
	Strong  Style = "1"  // headers
	Faint   Style = "2"  // on a full screen only
	Inverse Style = "7"  // on a full screen only
	Bad     Style = "31" // red: destructive or broken
	Odd     Style = "33" // yellow: needs attention
	Good    Style = "32" // green
)

// Colourless returns the style without its colour: the parameters that set no colour.
func (st Style) Colourless() Style {
	var kept []string
	for p := range strings.SplitSeq(string(st), ";") {
		if len(p) == 1 {
			kept = append(kept, p)
		}
	}
	return Style(strings.Join(kept, ";"))
}

// Paint returns text in a style if the screen has colours.
func (s Screen) Paint(st Style, text string) string {
	if !s.Colour {
		return text
	}
	return st.Paint(text)
}

// Paint returns text between the escape sequences of the style.
func (st Style) Paint(text string) string {
	if st == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}
