// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
)

// The styles that only a full screen has. They are no colours.
const (
	faint   style = "2"
	inverse style = "7"
)

// topSpan is text in one style. It has been through clean.
type topSpan struct {
	text  string
	style style
}

// topLine is one topLine of a screen.
type topLine []topSpan

// topText makes a line of plain topText.
func topText(s string) topLine { return topLine{{s, plain}} }

// with adds text in a style.
func (l topLine) with(st style, s string) topLine { return append(l, topSpan{s, st}) }

func (l topLine) width() (n int) {
	for _, s := range l {
		n += columns(s.text)
	}
	return n
}

// cut makes a line that is at most so many columns wide. Where something is cut off it ends in "…".
func (l topLine) cut(width int) topLine {
	if l.width() <= width {
		return l
	}
	var short topLine
	left := width
	for _, s := range l {
		n := columns(s.text)
		if n >= left {
			// Something is cut off here, or in the next span: there is room for the sign of it.
			return append(short, topSpan{cut(s.text+"…", left), s.style})
		}
		short = append(short, s)
		left -= n
	}
	return short
}

// spread puts l and, as far as there is room, right at the two ends of a line.
func (l topLine) spread(right topLine, width int) topLine {
	blanks := width - l.width() - right.width()
	if blanks < 2 {
		return l.cut(width)
	}
	return append(l.with(plain, strings.Repeat(" ", blanks)), right...)
}

// in gives the whole line a style of its own, to the end of the screen.
func (l topLine) in(st style, width int) topLine {
	return topLine{{pad(l.plain(), width), st}}
}

// plain is the line without any style.
func (l topLine) plain() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return strings.TrimRight(b.String(), " ")
}

// draw is the line for a terminal, with colours or only with what is none.
func (l topLine) draw(b *strings.Builder, colour, faded bool) {
	for _, s := range l {
		st := s.style
		if faded && st != inverse {
			st = faint
		}
		if !colour {
			st = st.colourless()
		}
		b.WriteString(screen{colour: true}.paint(st, s.text))
	}
}

// colourless is a style without its colour: those parameters of SGR that set none.
func (st style) colourless() style {
	var kept []string
	for p := range strings.SplitSeq(string(st), ";") {
		if len(p) == 1 {
			kept = append(kept, p)
		}
	}
	return style(strings.Join(kept, ";"))
}

// cut cuts text, which has been through clean, to so many columns; it then ends in "…".
func cut(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		n += columns(string(r))
		if n > width-1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// pad cuts text or adds blanks to it, so that it is as wide as said.
func pad(s string, width int) string {
	s = cut(s, width)
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

// padLeft is pad for numbers.
func padLeft(s string, width int) string {
	s = cut(s, width)
	return strings.Repeat(" ", max(0, width-columns(s))) + s
}
