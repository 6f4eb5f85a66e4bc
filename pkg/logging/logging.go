// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package logging creates the logger of a reaper.
//
// A reaper that a person, a service manager or Kubernetes starts logs to stderr. If journald reads stderr, lines go to
// journald's own socket instead, so that priority and attributes are fields. A reaper that the plugin starts has no stderr:
// it logs to journald, or to a small file on a node without journald.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

// The formats of lines on stderr and in a file.
const (
	Text = "text" // one line of key=value pairs, the default
	JSON = "json" // one object a line
)

// The file of a reaper that the plugin starts is rotated at maxFileMiB. maxBackups older files are kept.
const (
	maxFileMiB = 1
	maxBackups = 1
)

// Options selects the destination of the lines. The zero value is text to os.Stderr, at level info.
type Options struct {
	Level  slog.Leveler // of the lowest lines that are written; nil is info
	Format string       // Text or JSON; empty is Text
	Stderr io.Writer    // where lines go unless Auto is set; nil is os.Stderr

	Auto          bool   // the plugin started the process: use journald, or File if there is none
	File          string // its directory must exist
	JournalSocket string // empty is systemlog.DefaultJournalSocket
}

// New returns a logger, and a Closer that writes the rest of the log. It fails if the format is unknown, or if Auto is
// set and neither journald nor the file can be opened.
//
// The logger never blocks and never fails. If its reader is stuck it drops lines, and the next line has their number
// (lost_lines). Close waits up to flushTime for the lines that are not written yet. It does not close stderr.
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
	if !opts.Auto {
		log, closer := stderrLogger(opts, isJournalStream(opts.Stderr))
		return log, closer, nil
	}
	j, err := systemlog.DialJournal(opts.JournalSocket)
	if err == nil {
		log, closer := journalLogger(opts, j)
		return log, closer, nil
	}
	if opts.File == "" {
		return nil, nil, err
	}
	f, err := openFile(opts.File)
	if err != nil {
		return nil, nil, err
	}
	log, closer := queuedLogger(opts, f, f.Close, nil)
	return log, closer, nil
}

// isJournalStream reports whether w is the process's stderr and journald reads that.
func isJournalStream(w io.Writer) bool {
	isStream, err := journal.StderrIsJournalStream()
	return err == nil && isStream && w == os.Stderr
}

// stderrLogger returns a logger to stderr. If journald reads stderr, text goes to journald's own socket instead; lines of
// JSON, and of text if the socket cannot be reached, go to stderr with their priority in front.
func stderrLogger(opts Options, isJournal bool) (*slog.Logger, io.Closer) {
	if !isJournal {
		return queuedLogger(opts, opts.Stderr, nil, nil)
	}
	if opts.Format == Text {
		if j, err := systemlog.DialJournal(opts.JournalSocket); err == nil {
			return journalLogger(opts, j)
		}
	}
	return queuedLogger(opts, priorityWriter{opts.Stderr}, nil, withoutTime)
}

func journalLogger(opts Options, j *systemlog.Journal) (*slog.Logger, io.Closer) {
	opts.Format = Text
	return queuedLogger(opts, entryWriter{j}, j.Close, withoutTime)
}

// queuedLogger returns a logger that writes lines to w by way of a queue. Closing the queue calls closeWriter unless it is
// nil.
func queuedLogger(opts Options, w io.Writer, closeWriter func() error, replace replaceAttr) (*slog.Logger, io.Closer) {
	q := newQueue(w, closeWriter, lostCounter(opts.Format))
	return slog.New(lineHandler(q, opts, replace)), q
}

// Trace writes one warning to the file at path, for a reaper that exits before it has a logger.
func Trace(path, message string, args ...any) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	slog.New(lineHandler(f, Options{}, nil)).Warn(message, args...)
	return f.Close()
}

// openFile opens the rotated file. It opens the file itself first: lumberjack would open it at the first line, with nowhere
// to report an error, and would follow a link or block on a FIFO.
func openFile(path string) (io.WriteCloser, error) {
	f, err := hostfs.OpenRegular(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil { // the mode of an existing file is restricted; rotation keeps it
		err = errors.Join(f.Chmod(0o600), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return &lumberjack.Logger{Filename: path, MaxSize: maxFileMiB, MaxBackups: maxBackups, LocalTime: true}, nil
}
