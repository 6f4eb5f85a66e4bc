// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/term"
)

// span is clean text in one style.
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

// cut cuts the line to width columns, with "…" at its end.
func (l line) cut(width int) line {
	if l.width() <= width {
		return l
	}
	var shortened line
	left := width
	for _, s := range l {
		n := term.Columns(s.text)
		if n >= left {
			// The line is cut in this span or the next, and "…" fits in this one.
			return append(shortened, span{term.Cut(s.text+"…", left), s.style})
		}
		shortened = append(shortened, s)
		left -= n
	}
	return shortened
}

// spread aligns l left and right right. If both do not fit, it drops right.
func (l line) spread(right line, width int) line {
	blanks := width - l.width() - right.width()
	if blanks < 2 {
		return l.cut(width)
	}
	return append(l.with(term.Plain, strings.Repeat(" ", blanks)), right...)
}

// in returns the line in one style, padded to the width of the screen.
func (l line) in(st term.Style, width int) line {
	return line{{term.Pad(l.plain(), width), st}}
}

// plain returns the text of the line.
func (l line) plain() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return strings.TrimRight(b.String(), " ")
}

// draw writes the line with its styles; without colour, only with styles such as bold.
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
