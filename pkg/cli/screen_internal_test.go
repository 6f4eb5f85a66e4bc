// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudoTerminal opens a pseudo-terminal of so many columns, and returns the end that programs print to and the one
// that shows it.
func pseudoTerminal(t *testing.T, width int) (program, shows *os.File) {
	t.Helper()
	shows, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shows.Close() })
	if err := unix.IoctlSetPointerInt(int(shows.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(shows.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	return program, shows
}

func TestTheScreenIsThatOfStdout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		width  int // of a terminal; -1 for none
		env    map[string]string
		output string
		want   screen
	}{
		{"a terminal has its width and colours", 132, map[string]string{"TERM": "xterm"}, "", screen{132, true}},
		{"whatever COLUMNS says", 132, map[string]string{"COLUMNS": "40"}, "", screen{132, true}},
		{"NO_COLOR takes the colours away", 132, map[string]string{"NO_COLOR": "1"}, "", screen{132, false}},
		{"an empty one does not", 132, map[string]string{"NO_COLOR": ""}, "", screen{132, true}},
		{"a dumb terminal has none", 132, map[string]string{"TERM": "dumb"}, "", screen{132, false}},
		{"of a terminal that does not know its width COLUMNS says it", 0, map[string]string{"COLUMNS": "40"}, "", screen{40, true}},
		{"else it is 80", 0, nil, "", screen{80, true}},
		{"what is no terminal has 80 columns", -1, nil, "", screen{80, false}},
		{"or what COLUMNS says", -1, map[string]string{"COLUMNS": "40"}, "", screen{40, false}},
		{"unless that is nonsense", -1, map[string]string{"COLUMNS": "-1"}, "", screen{80, false}},
		{"or no number", -1, map[string]string{"COLUMNS": "wide"}, "", screen{80, false}},
		{"with -o wide lines are as long as they are", 132, nil, outputWide, screen{0, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := showing(&bytes.Buffer{}, tt.env)
			e.output = tt.output
			if tt.width >= 0 {
				e.out, _ = pseudoTerminal(t, tt.width)
			}
			if got := e.screen(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("a file is no terminal", func(t *testing.T) {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		e := showing(nil, nil)
		e.out = f
		if got := e.screen(); got != (screen{80, false}) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestColoursAreOnlyOnATerminal(t *testing.T) {
	program, shows := pseudoTerminal(t, 80)
	e := showing(nil, map[string]string{"TERM": "xterm"})
	e.out = program
	if err := e.printSockets(someSockets()[1:2], false); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<12)
	n, err := shows.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b[:n]); !strings.Contains(got, "\x1b[1mPOD\x1b[0m") || !strings.Contains(got, "\x1b[33mFIN_WAIT2\x1b[0m") {
		t.Errorf("on a terminal it is %q", got)
	}
	if got := shown(t, func(e *env) error { return e.printSockets(someSockets(), true) }); strings.Contains(got, "\x1b") {
		t.Errorf("elsewhere it is %q", got)
	}
}
