// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/term"
)

func TestScreenOf(t *testing.T) {
	for _, tt := range []struct {
		name  string
		width int // of a terminal; -1 for none
		env   map[string]string
		want  term.Screen
	}{
		{"a terminal has its width and colours", 132, map[string]string{"TERM": "xterm"}, term.Screen{132, true}},
		{"COLUMNS does not count for a terminal", 132, map[string]string{"COLUMNS": "40"}, term.Screen{132, true}},
		{"NO_COLOR turns colours off", 132, map[string]string{"NO_COLOR": "1"}, term.Screen{132, false}},
		{"an empty NO_COLOR does not", 132, map[string]string{"NO_COLOR": ""}, term.Screen{132, true}},
		{"a dumb terminal has none", 132, map[string]string{"TERM": "dumb"}, term.Screen{132, false}},
		{"COLUMNS counts for a terminal of unknown width", 0, map[string]string{"COLUMNS": "40"}, term.Screen{40, true}},
		{"a terminal of unknown width has 80", 0, nil, term.Screen{80, true}},
		{"a negative COLUMNS does not", 0, map[string]string{"COLUMNS": "-1"}, term.Screen{80, true}},
		{"neither does one that is not a number", 0, map[string]string{"COLUMNS": "wide"}, term.Screen{80, true}},
		{"a pipe has any width", -1, nil, term.Screen{}},
		{"COLUMNS does not count for a pipe", -1, map[string]string{"COLUMNS": "40"}, term.Screen{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out any = &bytes.Buffer{}
			if tt.width >= 0 {
				out = termtest.New(t, tt.width, 24).TTY
			}
			if got := term.ScreenOf(out, func(name string) string { return tt.env[name] }); got != tt.want {
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
		if got := term.ScreenOf(f, func(string) string { return "" }); got != (term.Screen{}) {
			t.Errorf("got %+v", got)
		}
	})
}
