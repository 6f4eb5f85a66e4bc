// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// The output formats.
const (
	outputTable = "table"
	outputWide  = "wide" // a table with one line per row of any width
	outputJSON  = "json"
)

// outputFlag adds --output to a command.
func (e *env) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.output, "output", "o", outputTable, "output `format`: table, wide (one line per row) or json")
	completeOneOf(cmd, "output", outputTable, outputWide, outputJSON)
}

// checkOutput validates --output.
func (e *env) checkOutput() error {
	switch e.output {
	case "", outputTable, outputWide, outputJSON: // "": the command does not have the flag
		return nil
	}
	return usageError{fmt.Errorf("--output is table, wide or json, not %q", e.output)}
}

// screen returns the screen of stdout. With -o wide it has any width.
func (e *env) screen() term.Screen {
	s := term.ScreenOf(e.out, e.getenv)
	if e.output == outputWide {
		s.Width = 0
	}
	return s
}

// printJSON prints v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(printable{w})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printable escapes non-printing characters in JSON: people read it on terminals too, and names come from pods. Outside of
// strings JSON is ASCII.
type printable struct{ w io.Writer }

// Write implements io.Writer. It must not be called with part of a rune; encoding/json does not.
func (p printable) Write(b []byte) (int, error) {
	from := 0
	for i := 0; i < len(b); {
		r, n := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(b[i:])
		}
		if r >= 0x7f && !strconv.IsPrint(r) {
			if _, err := p.w.Write(b[from:i]); err != nil {
				return from, err
			}
			escape := fmt.Appendf(nil, `\u%04x`, r)
			if hi, lo := utf16.EncodeRune(r); hi != unicode.ReplacementChar {
				escape = fmt.Appendf(nil, `\u%04x\u%04x`, hi, lo)
			}
			if _, err := p.w.Write(escape); err != nil {
				return i, err
			}
			from = i + n
		}
		i += n
	}
	if _, err := p.w.Write(b[from:]); err != nil {
		return from, err
	}
	return len(b), nil
}

func orDash(s *api.Seconds) string {
	if s == nil {
		return "-"
	}
	return describe.Age(*s)
}
