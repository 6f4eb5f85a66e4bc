// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
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

// podName names a pod, or the container where the runtime said nothing of a pod.
func podName(p state.Pod, containerID string) string {
	if p.Name == "" {
		return short(containerID)
	}
	return p.Namespace + "/" + p.Name
}

// short cuts the container ID of a runtime to the length that other tools show. One that a person chose is
// left whole.
func short(id string) string {
	switch {
	case id == "":
		return "-"
	case len(id) > 13 && strings.Trim(id, "0123456789abcdef") == "":
		return id[:13]
	}
	return id
}

// ago shows a time that has passed, without the units that are zero at its end.
func ago(s api.Seconds) string {
	if age := policy.Age(time.Duration(s)); age > 0 {
		return policy.Grace(age).String() // which is written so
	}
	return "0s"
}

func orDash(s *api.Seconds) string {
	if s == nil {
		return "-"
	}
	return ago(*s)
}

// holders lists who holds a socket, and in which containers.
func holders(list []owners.Process) string {
	if len(list) == 0 {
		return "-"
	}
	names := make([]string, 0, len(list))
	for _, p := range list {
		name := fmt.Sprintf("%s[%d]", p.Command, p.PID)
		if p.ContainerID != "" {
			name += " in " + short(p.ContainerID)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
