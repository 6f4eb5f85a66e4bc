// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

// defaultSyslogSocket is where a syslog daemon takes messages, in the format of syslog(3).
const defaultSyslogSocket = "/dev/log"

// daemonWarning is facility LOG_DAEMON at priority LOG_WARNING, from syslog.h.
const daemonWarning = 3<<3 | 4

// SystemLog puts single warnings into the node's system log, for a process that lives too shortly for a
// logger and must not be held up by one.
type SystemLog struct {
	tag     string
	journal string
	syslog  string
}

// System returns the system log, in which tag says who speaks. It opens nothing yet.
func System(tag string) *SystemLog {
	return &SystemLog{tag: tag, journal: DefaultJournalSocket, syslog: defaultSyslogSocket}
}

// Warn writes one line: to the journal if its socket is there, else to /dev/log, else nowhere. It takes
// a tenth of a second at most and does not fail. args are keys and values, as for slog.Logger.Warn.
func (s *SystemLog) Warn(message string, args ...any) {
	var r slog.Record
	r.Add(args...)
	var attrs []attr
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendAttrs(attrs, "", a)
		return true
	})
	deadline := time.Now().Add(maxWait)
	if s.toJournal(deadline, message, attrs) != nil {
		s.toSyslog(deadline, line(message, attrs))
	}
}

// toJournal sends one entry to the journal.
func (s *SystemLog) toJournal(deadline time.Time, message string, attrs []attr) error {
	j, err := dialJournal(s.journal)
	if err != nil {
		return err
	}
	defer j.Close()
	return j.send(deadline, func(_ int, small bool) []byte {
		return entry(s.tag, priorityWarning, message, attrs, 0, small)
	})
}

// toSyslog sends one line to the syslog daemon, whose socket takes datagrams or, with a few daemons, a
// stream. Where neither is there, or there is no time left, the line is lost.
func (s *SystemLog) toSyslog(deadline time.Time, text string) {
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
