// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/halfclose/halfclose/pkg/systemlog"
)

// isJournalStream reports whether w is the stream to the journal that systemd set up for this service.
// stream is the value of $JOURNAL_STREAM, "device:inode" (systemd.exec(5)); it is inherited, so it counts
// only for a file that is the one it names.
func isJournalStream(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// streamLogger is for a service whose stderr systemd reads for the journal. Text goes to the journal by its
// own protocol, and to stderr only where its socket cannot be reached. JSON was asked for by somebody who
// reads it: it stays one object a line, with nothing but the priority in front.
func streamLogger(opts Options) (*slog.Logger, io.Closer) {
	if opts.Format == Text {
		if j, err := systemlog.Dial(opts.JournalSocket); err == nil {
			return slog.New(newJournalHandler(j, opts.Level)), j
		}
	}
	q := newQueue(opts.Stderr, counter(opts.Format))
	return slog.New(newStreamHandler(q, opts)), q
}

// streamHandler is a slog.Handler that writes a line a record with its priority in front, "<4>", which the
// journal takes off and keeps (sd-daemon(3)). Without it every line would be an info. The journal adds the
// time. It holds one handler for each priority.
type streamHandler map[string]slog.Handler

func newStreamHandler(w io.Writer, opts Options) streamHandler {
	h := make(streamHandler)
	for _, p := range []string{systemlog.PriorityError, systemlog.PriorityWarning, systemlog.PriorityInfo, systemlog.PriorityDebug} {
		h[p] = lineHandler(prefixed{w, "<" + p + ">"}, opts, false)
	}
	return h
}

// Enabled implements slog.Handler.
func (h streamHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h[priority(level)].Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h streamHandler) Handle(ctx context.Context, r slog.Record) error {
	return h[priority(r.Level)].Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h streamHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h streamHandler) WithGroup(name string) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithGroup(name) })
}

func (h streamHandler) each(change func(slog.Handler) slog.Handler) streamHandler {
	changed := make(streamHandler, len(h))
	for p, one := range h {
		changed[p] = change(one)
	}
	return changed
}

// prefixed is a writer of lines, each of which begins with a prefix.
type prefixed struct {
	to     io.Writer
	prefix string
}

// Write writes one line.
func (p prefixed) Write(line []byte) (int, error) {
	n, err := p.to.Write(append([]byte(p.prefix), line...))
	return max(n-len(p.prefix), 0), err
}
