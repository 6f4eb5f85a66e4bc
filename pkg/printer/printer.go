// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package printer prints the reaper's answers: as tables and text for a terminal, or as JSON or YAML. The commands on a node
// and those over all nodes of a cluster share it.
package printer

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/term"
)

// The formats of the output.
const (
	Table = "table"
	Wide  = "wide" // a table with one line per row of any width, and with more columns
	JSON  = "json"
	YAML  = "yaml"
)

// Formats returns the formats of the output.
func Formats() []string { return []string{Table, Wide, JSON, YAML} }

// CheckFormat returns an error if a format is not one of Formats, or "".
func CheckFormat(format string) error {
	if format == "" || slices.Contains(Formats(), format) {
		return nil
	}
	return fmt.Errorf("--output is table, wide, json or yaml, not %q", format)
}

// Printer prints to Out. The zero value of each other field is usable.
type Printer struct {
	Out       io.Writer
	Format    string // of the output; "" is Table
	NoHeaders bool   // tables have no header
	Nodes     bool   // tables have a first column with the node of each row

	Stdout *term.Screen             // the screen of Out; nil finds out
	Getenv func(name string) string // nil is os.Getenv
	Now    func() time.Time         // in the time zone of the output; nil is time.Now
}

// Screen returns the screen of Out. With the format Wide it has any width.
func (p *Printer) Screen() term.Screen {
	s := p.Stdout
	if s == nil {
		getenv := p.Getenv
		if getenv == nil {
			getenv = os.Getenv
		}
		s = new(term.ScreenOf(p.Out, getenv))
	}
	if p.Format == Wide {
		return term.Screen{Colour: s.Colour}
	}
	return *s
}

// NewTable starts a table on Out.
func (p *Printer) NewTable(cols ...term.Column) *term.Table {
	t := term.NewTable(p.Out, p.Screen(), cols...)
	if p.NoHeaders {
		t.WithoutHeader()
	}
	return t
}

// PrintsObject reports whether the format selects an object instead of text: print it with PrintObject.
func (p *Printer) PrintsObject() bool { return p.Format == JSON || p.Format == YAML }

// PrintObject prints v as JSON, or as YAML with the same keys.
func (p *Printer) PrintObject(v any) error {
	if p.Format == YAML {
		return printYAML(p.Out, v)
	}
	return printJSON(p.Out, v)
}

// Clock returns the time, in the time zone of the output.
func (p *Printer) Clock() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// Stamp formats a time in the time zone of the output, with that zone.
func (p *Printer) Stamp(t time.Time) string {
	return t.In(p.Clock().Location()).Format(time.RFC3339)
}

// labelWidth is the width of the label before a line of text.
const labelWidth = 10

// labelled returns a line of text after a label, folded to the screen.
func labelled(s term.Screen, label, text string) string {
	return term.Fill(s.Width, fmt.Sprintf("%-*s", labelWidth, label), strings.Repeat(" ", labelWidth), safetext.Escape(text)) + "\n"
}
