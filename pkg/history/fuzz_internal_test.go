// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzReadingBackwardGivesTheSameLines reads any content in both directions.
func FuzzReadingBackwardGivesTheSameLines(f *testing.F) {
	line := string(appendLine(nil, "note", "run", time.Unix(1, 0), []byte(`{"n":1}`)))
	head := string(appendLine(nil, kindSegment, "run", time.Unix(1, 0), []byte(`{"version":1}`)))
	for _, text := range []string{"", "\n", head, head + line + line, line + line[:10], "\n\n" + line, head + "x\n" + line + "\n", line[:len(line)-1]} {
		f.Add([]byte(text), 1)
	}
	f.Add([]byte(line), 7000)
	f.Fuzz(func(t *testing.T, content []byte, times int) {
		if times < 1 || times > 10_000 || len(content)*times > 4<<20 {
			return
		}
		dir := t.TempDir()
		content = bytes.Repeat(content, times)
		if err := os.WriteFile(filepath.Join(dir, segmentName(1, time.Unix(1, 0))), content, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func(backward bool) (lines []string, skipped int) {
			r, err := NewReader(dir)
			if err != nil {
				t.Fatal(err)
			}
			seq := r.Forward(Query{})
			if backward {
				seq = r.Backward(Query{})
			}
			for l := range seq {
				lines = append(lines, string(l.JSON))
				if !bytes.Contains(content, l.JSON) {
					t.Errorf("a line that is not in the file: %q", l.JSON)
				}
			}
			return lines, r.Skipped()
		}
		forward, skipped := read(false)
		back, skippedBack := read(true)
		slices.Reverse(back)
		if diff := cmp.Diff(forward, back); diff != "" || skipped != skippedBack {
			t.Errorf("%d and %d lines are skipped, backward (-forward +backward):\n%s", skipped, skippedBack, diff)
		}
	})
}

// FuzzALineIsParsedOrRefused checks that what is parsed is written the same way.
func FuzzALineIsParsedOrRefused(f *testing.F) {
	for _, text := range []string{`{"kind":"entry","run":"a","at":5,"x":1}`, `{"kind":"entry","run":"a","at":-5}`, `{"kind":"","run":"","at":0}`, `{"kind":"a","run":"b","at":}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, ok := parseLine(text)
		if !ok {
			return
		}
		prefix := appendLine(nil, l.Kind, l.Run, l.At, []byte("{}"))
		prefix = prefix[:len(prefix)-2]
		canonical := slices.Clone(text[:min(len(text), len(prefix))])
		if !bytes.Equal(prefix, canonical) && !bytes.Contains(text, []byte(`"at":0`)) && !bytes.Contains(text, []byte(`"at":-0`)) {
			t.Errorf("%q is parsed as %+v, and written as %q", text, l, prefix)
		}
	})
}

func FuzzSegmentNamesAreParsedAsTheyAreMade(f *testing.F) {
	f.Add("00000001-20261130T120000Z.ndjson", uint64(1), int64(0))
	f.Add("00000001-20261130T120000Z", uint64(1<<60), int64(1<<40))
	f.Add("1-x", uint64(999999999), int64(-1))
	f.Fuzz(func(t *testing.T, name string, number uint64, sec int64) {
		if got, ok := parseSegmentName(name); ok && (got >= 1e18 || name == "") {
			t.Errorf("%q is segment %d", name, got)
		}
		number, sec = number%1e18, sec%(1<<37) // years of four digits
		if sec < 0 {
			sec = -sec
		}
		made := segmentName(number, time.Unix(sec, 0))
		if got, ok := parseSegmentName(made); !ok || got != number {
			t.Errorf("%q is segment %d, %v, want %d", made, got, ok, number)
		}
	})
}
