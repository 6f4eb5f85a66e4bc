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

// The ways to print.
const (
	outputTable = "table"
	outputWide  = "wide" // a table of one line per row, however long
	outputJSON  = "json"
)

// outputFlag adds --output to a command that prints.
func (e *env) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.output, "output", "o", outputTable, "the `format`: table, wide (one line per row) or json")
	completeOneOf(cmd, "output", outputTable, outputWide, outputJSON)
}

// checkOutput says what is wrong with --output.
func (e *env) checkOutput() error {
	switch e.output {
	case "", outputTable, outputWide, outputJSON: // a command that prints nothing has none
		return nil
	}
	return usageError{fmt.Errorf("--output is table, wide or json, not %q", e.output)}
}

// screen is what stdout is shown on. With -o wide a line may have any length.
func (e *env) screen() term.Screen {
	s := term.ScreenOf(e.out, e.getenv)
	if e.output == outputWide {
		s.Width = 0
	}
	return s
}

// printJSON prints v for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(printable{w})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printable writes JSON on, with what does not print as escapes: what is for programs is looked at by people
// too, and names come from pods. Outside of strings JSON is ASCII.
type printable struct{ w io.Writer }

// Write implements io.Writer. What is written must not end within a rune, as nothing that encoding/json writes does.
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
