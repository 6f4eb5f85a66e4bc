// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/systemlog"
)

// journalHandler is a slog.Handler that sends each record as one journal entry.
//
// MESSAGE is the record's message followed by its attributes as key=value, because it is all that
// journalctl shows by default. Each attribute is a field too, so that "journalctl POD=default/web" finds
// it. The journal adds the time.
type journalHandler struct {
	journal *systemlog.Journal
	level   slog.Level
	prefix  string           // the open groups, each followed by a dot
	attrs   []systemlog.Attr // those of WithAttrs
}

// newJournalHandler returns the handler that sends what is at level or above to j.
func newJournalHandler(j *systemlog.Journal, level slog.Level) *journalHandler {
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

// Handle implements slog.Handler. It waits systemlog.MaxWait at most.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendAttrs(attrs, h.prefix, a)
		return true
	})
	return h.journal.Send(time.Now().Add(systemlog.MaxWait), func(lost int, small bool) []byte {
		return systemlog.Entry(Identifier, priority(r.Level), r.Message, attrs, lost, small)
	})
}

// priority is the syslog priority of a level.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return systemlog.PriorityError
	case l >= slog.LevelWarn:
		return systemlog.PriorityWarning
	case l >= slog.LevelInfo:
		return systemlog.PriorityInfo
	}
	return systemlog.PriorityDebug
}

// appendAttrs flattens attributes: empty ones go, groups become prefixes.
func appendAttrs(to []systemlog.Attr, prefix string, attrs ...slog.Attr) []systemlog.Attr {
	for _, a := range attrs {
		v := a.Value.Resolve()
		switch {
		case v.Kind() != slog.KindGroup:
			if a.Key != "" || !v.Equal(slog.Value{}) {
				to = append(to, systemlog.Attr{Key: prefix + a.Key, Value: format(v)})
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
