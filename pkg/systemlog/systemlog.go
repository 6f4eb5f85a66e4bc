// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package systemlog writes lines to the node's system log: to journald in its own protocol, or to /dev/log.
//
// The plugin links it, which lives for a few milliseconds: it opens nothing before there is a line to write.
package systemlog

import (
	"fmt"
	"net"
	"os"
	"time"
)

// Identifier says who speaks, in every line of plugin and reaper: "journalctl -t halfclose" shows them.
const Identifier = "halfclose"

// defaultSyslogSocket is where a syslog daemon takes messages, in the format of syslog(3).
const defaultSyslogSocket = "/dev/log"

// daemonWarning is facility LOG_DAEMON at priority LOG_WARNING, from syslog.h.
const daemonWarning = 3<<3 | 4

// Log puts single warnings into the node's system log, for a process that lives too shortly for a
// logger and must not be held up by one.
type Log struct {
	tag     string
	journal string
	syslog  string
}

// New returns the system log, in which tag says who speaks. It opens nothing yet.
func New(tag string) *Log {
	return &Log{tag: tag, journal: DefaultJournalSocket, syslog: defaultSyslogSocket}
}

// Warn writes one line: to the journal if its socket is there, else to /dev/log, else nowhere. It takes
// a tenth of a second at most and does not fail. args are keys and values in turn.
func (s *Log) Warn(message string, args ...any) {
	var attrs []Attr
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, Attr{fmt.Sprint(args[i]), fmt.Sprint(args[i+1])})
	}
	deadline := time.Now().Add(MaxWait)
	if s.toJournal(deadline, message, attrs) != nil {
		s.toSyslog(deadline, line(message, attrs))
	}
}

// toJournal sends one entry to the journal.
func (s *Log) toJournal(deadline time.Time, message string, attrs []Attr) error {
	j, err := Dial(s.journal)
	if err != nil {
		return err
	}
	defer j.Close()
	return j.Send(deadline, func(_ int, small bool) []byte {
		return Entry(s.tag, PriorityWarning, message, attrs, 0, small)
	})
}

// toSyslog sends one line to the syslog daemon, whose socket takes datagrams or, with a few daemons, a
// stream. Where neither is there, or there is no time left, the line is lost.
func (s *Log) toSyslog(deadline time.Time, text string) {
	d := net.Dialer{Deadline: deadline}
	for _, network := range []string{"unixgram", "unix"} {
		conn, err := d.Dial(network, s.syslog)
		if err != nil {
			continue
		}
		_ = conn.SetWriteDeadline(deadline) // it fails only on a closed connection
		_, err = fmt.Fprintf(conn, "<%d>%s %s[%d]: %s\n",
			daemonWarning, time.Now().Format(time.Stamp), s.tag, os.Getpid(), truncate(text))
		_ = conn.Close()
		if err == nil {
			return
		}
	}
}
