// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/term"
)

// span is text in one style. It has been through clean.
type span struct {
	text  string
	style term.Style
}

// line is one line of a screen.
type line []span

// text makes a line of plain text.
func text(s string) line { return line{{s, term.Plain}} }

// with adds text in a style.
func (l line) with(st term.Style, s string) line { return append(l, span{s, st}) }

func (l line) width() (n int) {
	for _, s := range l {
		n += term.Columns(s.text)
	}
	return n
}

// cut makes a line that is at most so many columns wide. Where something is cut off it ends in "…".
func (l line) cut(width int) line {
	if l.width() <= width {
		return l
	}
	var shortened line
	left := width
	for _, s := range l {
		n := term.Columns(s.text)
		if n >= left {
			// Something is cut off here, or in the next span: there is room for the sign of it.
			return append(shortened, span{term.Cut(s.text+"…", left), s.style})
		}
		shortened = append(shortened, s)
		left -= n
	}
	return shortened
}

// spread puts l and, as far as there is room, right at the two ends of a line.
func (l line) spread(right line, width int) line {
	blanks := width - l.width() - right.width()
	if blanks < 2 {
		return l.cut(width)
	}
	return append(l.with(term.Plain, strings.Repeat(" ", blanks)), right...)
}

// in gives the whole line a style of its own, to the end of the screen.
func (l line) in(st term.Style, width int) line {
	return line{{term.Pad(l.plain(), width), st}}
}

// plain is the line without any style.
func (l line) plain() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return strings.TrimRight(b.String(), " ")
}

// draw is the line for a terminal, with colours or only with what is none.
func (l line) draw(b *strings.Builder, colour, faded bool) {
	for _, s := range l {
		st := s.style
		if faded && st != term.Inverse {
			st = term.Faint
		}
		if !colour {
			st = st.Colourless()
		}
		b.WriteString(st.Paint(s.text))
	}
}
