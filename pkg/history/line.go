// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Kind is the kind of a line: it decides the type of its value.
type Kind string

// The kinds of lines.
const (
	KindEntry Kind = "entry" // an api.Entry: one socket, or several if its Count is above 1
	KindLost  Kind = "lost"  // a Loss
	// kindSegment is the first line of each segment, a segmentHead.
	kindSegment Kind = "segment"
)

// Loss is a number of lines that could not be written.
type Loss struct {
	Lines uint64    `json:"lines"`
	From  time.Time `json:"from"` // of the first and the last of them, by the wall clock
	To    time.Time `json:"to"`
	Why   string    `json:"why"`
}

// Line is one line of the history.
type Line struct {
	Kind Kind
	Run  string    // identifies the reaper that wrote it
	At   time.Time // when it was appended, by the wall clock, to the microsecond
	// JSON is the line without its newline: the value's object, preceded by kind, run and at. It is valid until the
	// iteration continues.
	JSON []byte
}

// Decode parses the line's value.
func (l *Line) Decode(v any) error {
	if err := json.Unmarshal(l.JSON, v); err != nil {
		return fmt.Errorf("parse a line of the history: %w", err)
	}
	return nil
}

// maxLine bounds a line in bytes, for reading and for writing.
const maxLine = 1 << 20

// A line begins with its kind, run and time, always in this order: a reader selects lines by them without parsing the rest.
const (
	beforeKind = `{"kind":"`
	beforeRun  = `","run":"`
	beforeAt   = `","at":`
)

// appendLine appends a line with its newline. value is a JSON object; kind and run need no escaping.
func appendLine(b []byte, kind Kind, run string, at time.Time, value []byte) []byte {
	b = append(b, beforeKind...)
	b = append(b, kind...)
	b = append(b, beforeRun...)
	b = append(b, run...)
	b = append(b, beforeAt...)
	b = strconv.AppendInt(b, at.UnixMicro(), 10)
	if len(value) > len("{}") {
		b = append(b, ',')
	}
	b = append(b, value[1:]...)
	return append(b, '\n')
}

// parseLine parses the beginning of a line without its newline. It reports false for anything that appendLine does not
// write.
func parseLine(b []byte) (l Line, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(beforeKind))
	if !ok {
		return l, false
	}
	kind, rest, ok := bytes.Cut(rest, []byte(beforeRun))
	if !ok || !isPlain(kind) {
		return l, false
	}
	run, rest, ok := bytes.Cut(rest, []byte(beforeAt))
	if !ok || !isPlain(run) {
		return l, false
	}
	end := bytes.IndexAny(rest, ",}")
	if end <= 0 || b[len(b)-1] != '}' {
		return l, false
	}
	at, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil || rest[0] == '+' {
		return l, false
	}
	return Line{Kind: Kind(kind), Run: string(run), At: time.UnixMicro(at), JSON: b}, true
}

// isPlain reports whether a kind or a run has only characters that JSON does not escape.
func isPlain(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return len(b) <= 64
}
