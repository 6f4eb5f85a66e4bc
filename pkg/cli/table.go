// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// printJSON prints v for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows of cells in columns. Every cell is made harmless first: names come from pods.
type table struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer, header ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(header...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = clean(c)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// clean shows what does not print as escapes, so that no name can move the cursor or break a line.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// podName names a pod, or the container where the runtime said nothing of a pod.
func podName(p state.Pod, containerID string) string {
	if p.Name == "" {
		return short(containerID)
	}
	return p.Namespace + "/" + p.Name
}

// short cuts a container ID to the length that other tools show.
func short(id string) string {
	if len(id) > 13 {
		return id[:13]
	}
	if id == "" {
		return "-"
	}
	return id
}

func ago(s reaper.Seconds) string { return policy.Age(time.Duration(s)).String() }

func orDash(s *reaper.Seconds) string {
	if s == nil {
		return "-"
	}
	return ago(*s)
}
