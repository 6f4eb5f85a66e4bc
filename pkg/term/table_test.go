// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/term"
)

func TestTablesFitAnyScreenAndKeepEveryWord(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(i int) string { return fmt.Sprintf("w%d%s", i, strings.Repeat("x", random.IntN(30))) }
	for round := range 300 {
		cols := []term.Column{{Name: "FIRST"}}
		for i := range 1 + random.IntN(8) {
			cols = append(cols, term.Column{
				Name: strings.Repeat("N", 1+random.IntN(10)), Right: random.IntN(2) == 0, Fold: 1 + random.IntN(4), Lead: fmt.Sprintf(", l%d ", i),
			})
		}
		width := 1 + random.IntN(160)
		var out bytes.Buffer
		table := term.NewTable(&out, term.Screen{Width: width}, cols...)
		var words []string
		for range random.IntN(6) {
			row := make([]string, len(cols))
			for i := range row {
				for range 1 + random.IntN(4)*min(i, 1) { // the first column's cells are one word
					words = append(words, word(len(words)))
					row[i] = strings.TrimSpace(row[i] + " " + words[len(words)-1])
				}
			}
			table.Row(row...)
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		termtest.CheckWidth(t, width, out.String())
		var got []string
		for _, w := range strings.FieldsFunc(out.String(), func(r rune) bool { return strings.ContainsRune(" \n,", r) }) {
			if strings.HasPrefix(w, "w") {
				got = append(got, w)
			}
		}
		slices.Sort(got)
		slices.Sort(words)
		if !slices.Equal(got, words) {
			t.Fatalf("round %d: the words are\n%v\nprinted are\n%v\n%s", round, words, got, out.String())
		}
	}
}

func TestCellsThatDoNotFitAreBelowTheirRow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		width int
		want  string
	}{
		{"a wide screen has one line per row", 32, `
NAME    N  WHERE       WHY
a       1  10.0.0.1:1  too young
漢字  222  -
`},
		{"the column with the highest fold leaves first", 31, `
NAME    N  WHERE
a       1  10.0.0.1:1
  because too young
漢字  222  -
`},
		{"then the others", 20, `
NAME    N
a       1
  at 10.0.0.1:1:
  because too young
漢字  222
`},
		{"the last column may be too wide", 5, `
NAME
a
  n
  1,
  at
  10.0.0.1:1:
  because
  too
  young
漢字
  n
  222
`},
		{"any width has one line per row", 0, `
NAME    N  WHERE       WHY
a       1  10.0.0.1:1  too young
漢字  222  -
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			table := term.NewTable(&out, term.Screen{Width: tt.width}, term.Column{Name: "NAME"}, term.Column{Name: "N", Right: true, Fold: 1, Lead: ", n "},
				term.Column{Name: "WHERE", Fold: 2, Lead: ", at "}, term.Column{Name: "WHY", Fold: 3, Lead: ": because "})
			table.Row("a", "1", "10.0.0.1:1", "too young")
			table.Row("漢字", "222", "-", "")
			if err := table.Flush(); err != nil {
				t.Fatal(err)
			}
			if want := tt.want[1:]; out.String() != want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

func TestAGrowingTableRepeatsItsHeaderIfItsColumnsChange(t *testing.T) {
	var out bytes.Buffer
	table := term.NewTable(&out, term.Screen{Width: 20}, term.Column{Name: "NAME"}, term.Column{Name: "WHY", Fold: 1, Lead: ", "})
	for _, row := range [][]string{{"a", "young"}, {"longer", "old"}, {"b", "half-closed for ten minutes"}, {"c", "young"}} {
		table.Row(row...)
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := `NAME  WHY
a     young
longer  old
NAME
b
  half-closed for
  ten minutes
c
  young
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestColoursDoNotCountAsColumns(t *testing.T) {
	var out bytes.Buffer
	red := func(text string) term.Style {
		if text == "destroy" {
			return term.Bad
		}
		return term.Plain
	}
	table := term.NewTable(&out, term.Screen{Width: 17, Colour: true}, term.Column{Name: "VERDICT", Paint: red}, term.Column{Name: "N", Right: true}, term.Column{Name: "WHY", Fold: 1})
	table.Row("destroy", "1", "x")
	table.Row("young", "22", "y")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mVERDICT\x1b[0m   \x1b[1mN\x1b[0m  \x1b[1mWHY\x1b[0m\n\x1b[31mdestroy\x1b[0m   1  x\nyoung    22  y\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestALayoutCutsColumnsBeforeItLeavesThemOut(t *testing.T) {
	cols := []term.Column{{Name: "POD", Least: 6}, {Name: "N", Right: true}, {Name: "MODE", Fold: 1}}
	rows := [][]string{{"shop/checkout-1", "12", "destroy"}, {"a", "7", "off"}}
	for _, tt := range []struct {
		width int
		want  string
	}{
		{0, "POD               N  MODE|shop/checkout-1  12  destroy|a                 7  off"},
		{28, "POD               N  MODE|shop/checkout-1  12  destroy|a                 7  off"},
		{24, "POD           N  MODE|shop/ch…t-1  12  destroy|a             7  off"},
		{19, "POD      N  MODE|sho…-1  12  destroy|a        7  off"},
		{18, "POD              N|shop/chec…ut-1  12|a                7"},
		{5, "POD      N|sho…-1  12|a        7"},
	} {
		layout := term.NewLayout(tt.width, cols, rows)
		if got := strings.Join([]string{layout.Header(), layout.Line(rows[0]), layout.Line(rows[1])}, "|"); got != tt.want {
			t.Errorf("%d columns:\n%s, want\n%s", tt.width, got, tt.want)
		}
	}
}

func TestAValueThatAnotherCellHasIsNotRepeatedBelowTheRow(t *testing.T) {
	var out strings.Builder
	table := term.NewTable(&out, term.Screen{Width: 20}, term.Column{Name: "NAME"},
		term.Column{Name: "IDLE", Fold: 1, Lead: ", idle ", IsRepeated: func(row []string) bool { return strings.HasPrefix(row[2], "idle for ") }},
		term.Column{Name: "WHY", Fold: 1, Lead: ": "})
	table.Row("a", "9s", "idle for 9s")
	table.Row("b", "9s", "asked")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "NAME\na\n  idle for 9s\nb\n  idle 9s: asked\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
