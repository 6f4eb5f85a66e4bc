// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
)

// The priorities of syslog(3) that halfclose uses.
const (
	PriorityError   = 3
	PriorityWarning = 4
	PriorityInfo    = 6
	PriorityDebug   = 7
)

// Bounds in bytes. A datagram may have 208 KiB by default (net.core.wmem_default), and a pod's owner wrote part of what
// halfclose logs.
const (
	maxValueBytes = 16 << 10
	maxEntryBytes = 64 << 10
	maxNameBytes  = 64 // of a field's name (systemd's journal-field.h)
)

// Attr is an attribute of a line.
type Attr struct{ Key, Value string }

// Entry returns the datagram of one journal entry. MESSAGE has the attributes too, since journalctl shows nothing else by
// default. Each attribute is also a field, so that "journalctl POD=web" finds the entry, up to maxEntryBytes in all.
func Entry(priority int, message string, attrs []Attr) []byte {
	b := fmt.Appendf(nil, "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", line(message, attrs), priority, Identifier)
	for _, a := range attrs {
		name, value := fieldName(a.Key), safetext.Cut(a.Value, maxValueBytes)
		if len(b)+len(value) > maxEntryBytes {
			continue
		}
		if strings.Contains(value, "\n") { // https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: the length goes in front
			b = binary.LittleEndian.AppendUint64(fmt.Appendf(b, "%s\n", name), uint64(len(value)))
			b = fmt.Appendf(b, "%s\n", value)
		} else {
			b = fmt.Appendf(b, "%s=%s\n", name, value)
		}
	}
	return b
}

// line returns the message and its attributes on one line, in at most maxValueBytes.
func line(message string, attrs []Attr) string {
	var b strings.Builder
	b.WriteString(safetext.Replace(message, ' '))
	for _, a := range attrs {
		fmt.Fprintf(&b, " %s=%s", quoteWord(a.Key), quoteWord(a.Value))
	}
	return safetext.Cut(b.String(), maxValueBytes)
}

// quoteWord quotes text that does not read as one word.
func quoteWord(s string) string {
	if s == "" || strings.ContainsAny(s, ` "=`) || !safetext.IsPrintable(s) {
		return strconv.Quote(s)
	}
	return s
}

// fieldName returns the name of an attribute's field. journald accepts A to Z, 0 to 9 and _, and ignores names that begin
// with a digit or with _. Those get a prefix, and so do the names of the fields that every entry has.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	if name == "" || name[0] < 'A' || name[0] == '_' || name == "MESSAGE" || name == "PRIORITY" || strings.HasPrefix(name, "SYSLOG_") {
		name = "HALFCLOSE_" + name
	}
	return name[:min(len(name), maxNameBytes)]
}
