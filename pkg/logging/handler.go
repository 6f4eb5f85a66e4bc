// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// journalHandler is a slog.Handler that sends each record as one journal entry.
//
// MESSAGE is the record's message followed by its attributes as key=value, because it is all that
// journalctl shows by default. Each attribute is a field too, so that "journalctl POD=default/web" finds
// it. The journal adds the time.
type journalHandler struct {
	journal *journal
	level   slog.Level
	prefix  string // the open groups, each followed by a dot
	attrs   []attr // those of WithAttrs
}

// attr is an attribute with its groups flattened into the key: {"pod", {"name", "web"}} is pod.name=web.
type attr struct{ key, value string }

// newJournalHandler returns the handler that sends what is at level or above to j.
func newJournalHandler(j *journal, level slog.Level) *journalHandler {
	return &journalHandler{journal: j, level: level}
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h2 := *h
	h2.attrs = appendAttrs(slices.Clip(h.attrs), h.prefix, attrs...)
	return &h2
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	h2 := *h
	h2.prefix += name + "."
	return &h2
}

// Handle implements slog.Handler. It waits maxWait at most.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendAttrs(attrs, h.prefix, a)
		return true
	})
	return h.journal.send(time.Now().Add(maxWait), func(lost int, small bool) []byte {
		return entry(Identifier, priority(r.Level), r.Message, attrs, lost, small)
	})
}

// lostKey is the attribute that says how many lines before this one could not be written.
const lostKey = "lost_lines"

// entry makes the datagram. A small one keeps the attributes in MESSAGE only, which is cut like any value.
func entry(identifier, priority, message string, attrs []attr, lost int, small bool) []byte {
	if lost > 0 {
		attrs = append(slices.Clip(attrs), attr{lostKey, strconv.Itoa(lost)})
	}
	b := appendField(nil, field{"MESSAGE", line(message, attrs)})
	b = appendField(b, field{"PRIORITY", priority})
	b = appendField(b, field{"SYSLOG_IDENTIFIER", identifier})
	if small {
		return b
	}
	for _, a := range attrs {
		b = appendField(b, field{fieldName(a.key), a.value})
	}
	return b
}

// line is the message with its attributes as people read them, on one line.
func line(message string, attrs []attr) string {
	var b strings.Builder
	b.WriteString(strings.Map(oneLine, message))
	for _, a := range attrs {
		b.WriteByte(' ')
		b.WriteString(quote(a.key))
		b.WriteByte('=')
		b.WriteString(quote(a.value))
	}
	return b.String()
}

// oneLine turns what would break the line, or move a terminal's cursor, into a space.
func oneLine(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// quote quotes what would not read back as one word.
func quote(s string) string {
	plain := s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// maxName is the longest field name that journald takes, in bytes (systemd's journal-field.h: 64).
const maxName = 64

// fieldName turns a key into a name that journald takes: A to Z, 0 to 9 and _, not starting with a digit
// nor with _ (those are journald's own), and none of the fields that an entry has anyway.
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
	if name == "" || name[0] == '_' || '0' <= name[0] && name[0] <= '9' ||
		name == "MESSAGE" || name == "PRIORITY" || strings.HasPrefix(name, "SYSLOG_") {
		name = "HALFCLOSE_" + name
	}
	return name[:min(len(name), maxName)]
}

// priority is the syslog priority of a level.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return priorityError
	case l >= slog.LevelWarn:
		return priorityWarning
	case l >= slog.LevelInfo:
		return priorityInfo
	}
	return priorityDebug
}

// appendAttrs flattens attributes: empty ones go, groups become prefixes.
func appendAttrs(to []attr, prefix string, attrs ...slog.Attr) []attr {
	for _, a := range attrs {
		v := a.Value.Resolve()
		switch {
		case v.Kind() != slog.KindGroup:
			if a.Key != "" || !v.Equal(slog.Value{}) {
				to = append(to, attr{prefix + a.Key, format(v)})
			}
		case a.Key == "": // its attributes belong to the group around it
			to = appendAttrs(to, prefix, v.Group()...)
		default:
			to = appendAttrs(to, prefix+a.Key+".", v.Group()...)
		}
	}
	return to
}

// format prints a value as slog's text handler does. Like there, a value whose method panics (a nil
// pointer, mostly) does not take the process with it.
func format(v slog.Value) (s string) {
	defer func() {
		if r := recover(); r != nil {
			s = fmt.Sprintf("!PANIC: %v", r)
		}
	}()
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if m, ok := v.Any().(encoding.TextMarshaler); ok {
			if b, err := m.MarshalText(); err == nil {
				return string(b)
			}
		}
	}
	return v.String()
}
