// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package logging decides where log lines go.
//
// A reaper that a person or Kubernetes started writes to stderr, which somebody keeps. Where systemd reads
// that for the journal, the lines go to the journal itself, so that their priority and attributes are fields
// of their own. One that the plugin started has no stderr: its lines go to the journal too, or to a small
// file where there is none. The plugin, whose stdout belongs to CNI and whose stderr few runtimes show, puts a warning
// into the system log with package systemlog.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

// Identifier is the SYSLOG_IDENTIFIER of every line in the journal: "journalctl -t halfclose" shows them.
const Identifier = systemlog.Identifier

// The formats of lines on stderr and in a file.
const (
	Text = "text" // one line of key=value pairs, the default
	JSON = "json" // one object a line
)

// The file that an auto-started reaper logs to is rotated at maxFileMiB; one older file is kept.
const (
	maxFileMiB = 1
	maxBackups = 1
)

// Options says where a reaper's lines go. The zero value is text to os.Stderr, at level info.
type Options struct {
	Level  slog.Level // what is below it is not written
	Format string     // Text or JSON; empty is Text
	Stderr io.Writer  // where lines go unless Auto is set; nil is os.Stderr

	Auto          bool   // started by the plugin: the journal if it is there, in its own format, else File
	File          string // used when Auto is set and there is no journal; its directory must exist
	JournalSocket string // empty is systemlog.DefaultJournalSocket
}

// New returns the logger that opts asks for, and what to close once nothing logs any more.
//
// The logger never makes its user wait for more than a tenth of a second, nor tells it that a line could
// not be written: lines that find no room are dropped, and the next one that does says how many they were
// (lost_lines). Close waits a moment, and no longer, for the lines that are not written yet; it does not close
// stderr. New fails when the format is unknown, or when neither a journal nor the file can be written to.
func New(opts Options) (*slog.Logger, io.Closer, error) {
	if opts.Format == "" {
		opts.Format = Text
	}
	if opts.Format != Text && opts.Format != JSON {
		return nil, nil, fmt.Errorf("unknown log format %q: use %q or %q", opts.Format, Text, JSON)
	}
	if opts.Stderr == nil {
		opts.Stderr = os.Stderr
	}
	switch {
	case opts.Auto:
	case isJournalStream(opts.Stderr, os.Getenv("JOURNAL_STREAM")):
		log, closer := streamLogger(opts)
		return log, closer, nil
	default:
		log, q := queuedLogger(opts.Stderr, opts)
		return log, q, nil
	}
	j, err := systemlog.Dial(opts.JournalSocket)
	if err == nil {
		return slog.New(newJournalHandler(j, opts.Level)), j, nil
	}
	if opts.File == "" {
		return nil, nil, fmt.Errorf("log to the journal: %w (and no log file is named)", err)
	}
	f, err := openFile(opts.File)
	if err != nil {
		return nil, nil, err
	}
	log, q := queuedLogger(f, opts)
	return log, fileCloser{q, f}, nil
}

// Trace leaves one warning in the file at path, for a reaper that ends before it has a logger.
func Trace(path, message string, args ...any) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	slog.New(lineHandler(f, Options{}, true)).Warn(message, args...)
	return f.Close()
}

// queuedLogger writes a line a record to w, by way of a queue.
func queuedLogger(w io.Writer, opts Options) (*slog.Logger, *queue) {
	q := newQueue(w, counter(opts.Format))
	return slog.New(lineHandler(q, opts, true)), q
}

// fileCloser closes a file after the queue in front of it.
type fileCloser struct {
	queue *queue
	file  io.Closer
}

// Close leaves a file open that is still being written to: closing it would wait for that.
func (c fileCloser) Close() error {
	if err := c.queue.Close(); err != nil {
		return err
	}
	return c.file.Close()
}

// lineHandler writes a line a record to w.
func lineHandler(w io.Writer, opts Options, times bool) slog.Handler {
	ho := &slog.HandlerOptions{Level: opts.Level}
	if !times {
		ho.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if opts.Format == JSON {
		return slog.NewJSONHandler(w, ho)
	}
	return slog.NewTextHandler(w, ho)
}

// openFile opens the rotated file. It opens the file once by itself first, because lumberjack would only
// do so at the first line, and with nobody to tell.
func openFile(path string) (io.WriteCloser, error) {
	f, err := hostfs.OpenRegular(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	// A file that somebody else made wider is narrowed; rotation keeps the mode.
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return &lumberjack.Logger{Filename: path, MaxSize: maxFileMiB, MaxBackups: maxBackups, LocalTime: true}, nil
}
