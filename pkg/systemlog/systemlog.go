// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package systemlog writes to the node's system log: entries to journald, or single warnings to journald or syslog.
//
// The plugin links it, and runs for a few milliseconds: the package opens nothing before there is a line to write, and does without
// net.Dial and log/syslog, which link a DNS resolver.
package systemlog

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Identifier is the SYSLOG_IDENTIFIER of every line of plugin and reaper: "journalctl -t halfclose" shows them.
const Identifier = "halfclose"

// DefaultJournalSocket is where systemd-journald receives datagrams.
const DefaultJournalSocket = "/run/systemd/journal/socket"

// MaxWait bounds how long a warning waits for a reader that is busy or stuck.
const MaxWait = 100 * time.Millisecond

// Journal is a connection to journald: an io.WriteCloser for entries. It is not safe for concurrent use.
//
// The kernel reports an unconnected socket, as go-systemd's, as writable while journald's queue is full, so a write to one
// uses all of a core until there is room. See docs/decisions/2026-11-29-own-journald-connection.md.
type Journal struct {
	path string
	conn *os.File
}

// DialJournal connects to the socket at path, or DefaultJournalSocket if it is empty. It fails if no process is bound to it.
func DialJournal(path string) (*Journal, error) {
	if path == "" {
		path = DefaultJournalSocket
	}
	j := &Journal{path: path}
	return j, j.dial()
}

func (j *Journal) dial() error {
	conn, err := connectSocket(unix.SOCK_DGRAM, j.path)
	if err != nil {
		return fmt.Errorf("connect to journald: %w", err)
	}
	if j.conn != nil {
		j.conn.Close()
	}
	j.conn = conn
	return nil
}

// Write sends one entry. It blocks while journald's queue is full, and reconnects if journald has a new socket.
func (j *Journal) Write(entry []byte) (int, error) {
	n, err := j.conn.Write(entry)
	if err == nil || errors.Is(err, unix.EMSGSIZE) {
		return n, err
	}
	if err := j.dial(); err != nil {
		return 0, err
	}
	return j.conn.Write(entry)
}

// Close closes the connection.
func (j *Journal) Close() error { return j.conn.Close() }

// Log writes single warnings, for a process that exits too soon for a logger. The zero value is the node's.
type Log struct {
	journalSocket string // empty is DefaultJournalSocket
	syslogSocket  string // empty is the local syslog daemon's
}

// Warn writes one line to journald, or to syslog if it cannot connect to journald. It returns within MaxWait, and without
// either it drops the line. args are keys and values in turn.
func (l Log) Warn(message string, args ...any) {
	var attrs []Attr
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, Attr{fmt.Sprint(args[i]), fmt.Sprint(args[i+1])})
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = l.write(message, attrs) // there is no other log to report an error to
	}()
	select {
	case <-written:
	case <-time.After(MaxWait):
	}
}

func (l Log) write(message string, attrs []Attr) error {
	if j, err := DialJournal(l.journalSocket); err == nil {
		_, err := j.Write(Entry(PriorityWarning, message, attrs))
		return errors.Join(err, j.Close())
	}
	conn, err := dialSyslog(l.syslogSocket)
	if err != nil {
		return err
	}
	_, err = conn.WriteString(syslogLine(time.Now(), line(message, attrs)))
	return errors.Join(err, conn.Close())
}
