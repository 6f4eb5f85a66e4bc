// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/systemlog"
)

type replaceAttr func(groups []string, a slog.Attr) slog.Attr

// withoutTime leaves out a line's time, for a reader that adds it. The level is then the first attribute.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// lineHandler returns a handler that writes each record as one line.
func lineHandler(w io.Writer, opts Options, replace replaceAttr) slog.Handler {
	ho := &slog.HandlerOptions{Level: opts.Level, ReplaceAttr: replace}
	if opts.Format == JSON {
		return slog.NewJSONHandler(w, ho)
	}
	return slog.NewTextHandler(w, ho)
}

// entryWriter sends lines of text without a time as journal entries.
type entryWriter struct{ to io.Writer }

func (w entryWriter) Write(line []byte) (int, error) {
	var attrs []systemlog.Attr
	for rest := strings.TrimSuffix(string(line), "\n"); rest != ""; {
		var a systemlog.Attr
		a.Key, rest = cutWord(rest, "=")
		a.Value, rest = cutWord(rest, " ")
		attrs = append(attrs, a)
	}
	if len(attrs) < 2 {
		return 0, fmt.Errorf("log line without level and message: %.80q", line)
	}
	return w.to.Write(systemlog.Entry(priority(attrs[0].Value), attrs[1].Value, attrs[2:]))
}

// cutWord returns the first key or value of a line of slog.TextHandler, unquoted, and the line after the separator.
func cutWord(line, separator string) (word, rest string) {
	if strings.HasPrefix(line, `"`) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			word, _ = strconv.Unquote(quoted) // a quoted prefix is valid
			return word, strings.TrimPrefix(line[len(quoted):], separator)
		}
	}
	word, rest, _ = strings.Cut(line, separator)
	return word, rest
}

// priorityWriter writes lines without a time after their priority, such as "<4>", which journald reads and removes
// (sd-daemon(3)).
type priorityWriter struct{ to io.Writer }

func (w priorityWriter) Write(line []byte) (int, error) {
	_, level, _ := bytes.Cut(line, []byte("level")) // level=WARN or {"level":"WARN"
	level = bytes.TrimLeft(level[:min(len(level), len(`":"ERROR`))], `":=`)
	return w.to.Write(fmt.Appendf(nil, "<%d>%s", priority(string(level)), line))
}

// priority returns the syslog priority of a slog.Level's text, such as "WARN" or "INFO+1".
func priority(level string) int {
	switch {
	case strings.HasPrefix(level, "ERROR"):
		return systemlog.PriorityError
	case strings.HasPrefix(level, "WARN"):
		return systemlog.PriorityWarning
	case strings.HasPrefix(level, "DEBUG"):
		return systemlog.PriorityDebug
	}
	return systemlog.PriorityInfo
}
