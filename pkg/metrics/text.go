// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/reaper"
)

// The types of metrics that there are.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// text is an exposition that is being written: families one after the other, each with its samples.
type text struct {
	b    []byte
	name string // of the family
}

// label is a label's name and value.
type label struct{ name, value string }

// family begins a family of metrics.
func (t *text) family(name, kind, help string) {
	t.name = name
	t.b = append(t.b, "# HELP "+name+" "+escapeHelp(help)+"\n# TYPE "+name+" "+kind+"\n"...)
}

// whole writes a sample that is a whole number.
func (t *text) whole(n uint64, labels ...label) {
	t.series("", labels)
	t.b = append(strconv.AppendUint(append(t.b, ' '), n, 10), '\n')
}

// seconds writes a sample that is a time.
func (t *text) seconds(d time.Duration, labels ...label) {
	t.series("", labels)
	t.float(d.Seconds())
}

// histogram writes the samples of a histogram of durations.
func (t *text) histogram(h reaper.Histogram, labels ...label) {
	var n uint64
	for i, count := range h.Counts {
		n += count
		bound := "+Inf"
		if i < len(h.Bounds) {
			bound = formatFloat(h.Bounds[i].Seconds())
		}
		t.series("_bucket", append(slices.Clip(labels), label{"le", bound}))
		t.b = append(strconv.AppendUint(append(t.b, ' '), n, 10), '\n')
	}
	t.series("_sum", labels)
	t.float(h.Sum.Seconds())
	t.series("_count", labels)
	t.b = append(strconv.AppendUint(append(t.b, ' '), n, 10), '\n')
}

// series writes a sample's name and labels.
func (t *text) series(suffix string, labels []label) {
	t.b = append(append(t.b, t.name...), suffix...)
	for i, l := range labels {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		t.b = append(append(append(t.b, sep), l.name...), `="`...)
		t.b = append(append(t.b, escapeValue(l.value)...), '"')
	}
	if len(labels) > 0 {
		t.b = append(t.b, '}')
	}
}

func (t *text) float(f float64) {
	t.b = append(append(append(t.b, ' '), formatFloat(f)...), '\n')
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// escapeHelp escapes what would end a line.
func escapeHelp(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
}

// escapeValue escapes what would end a label's value. Values are UTF-8, so what is not is replaced.
func escapeValue(s string) string {
	if !strings.ContainsAny(s, "\\\n\"") {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
