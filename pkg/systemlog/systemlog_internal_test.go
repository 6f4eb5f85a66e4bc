// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"bufio"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/journaltest"
)

// syslogLine is what syslog(3) sends to a local daemon for this test's warning.
var syslogLine = regexp.MustCompile(`^<28>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d halfclose\[\d+\]: bad value path=\.grace\n$`)

// system returns a system log whose sockets, none of them there yet, are the test's own.
func system(t *testing.T) *Log {
	t.Helper()
	dir := t.TempDir()
	s := New("halfclose")
	s.journal, s.syslog = filepath.Join(dir, "journal"), filepath.Join(dir, "log")
	return s
}

func TestAWarningGoesToTheJournalFirst(t *testing.T) {
	s := system(t)
	d := &journaltest.Journald{Path: s.journal, Conn: journaltest.Listen(t, s.journal)}
	syslog := journaltest.Listen(t, s.syslog)
	s.Warn("bad value", "path", ".grace")
	want := map[string]string{
		"MESSAGE": "bad value path=.grace", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "halfclose", "PATH": ".grace",
	}
	if diff := cmp.Diff(want, d.Next(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	expectNothing(t, syslog)
}

func TestAWarningGoesToSyslogWhereThereIsNoJournal(t *testing.T) {
	s := system(t)
	syslog := journaltest.Listen(t, s.syslog)
	s.Warn("bad value", "path", ".grace")
	if got := journaltest.NextGram(t, syslog); !syslogLine.Match(got) {
		t.Errorf("got %q", got)
	}
}

func TestAWarningGoesToASyslogThatTakesAStream(t *testing.T) {
	s := system(t)
	l, err := net.Listen("unix", s.syslog)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.Warn("bad value", "path", ".grace")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !syslogLine.MatchString(got) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAWarningWithNobodyToTakeItIsDropped(t *testing.T) {
	system(t).Warn("bad value", "path", ".grace")
}

func TestAWarningDoesNotWaitForAStuckJournal(t *testing.T) {
	s := system(t)
	journaltest.Listen(t, s.journal)
	syslog := journaltest.Listen(t, s.syslog)
	j, err := Dial(s.journal)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	fill(t, j)
	s.Warn("bad value", "path", ".grace") // comes back at all: nobody ever reads
	expectNothing(t, syslog)              // and has used up its time
}

// expectNothing checks that no datagram waits.
func expectNothing(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	rc, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var rerr error
	b := make([]byte, 1<<10)
	err = rc.Read(func(fd uintptr) bool {
		n, rerr = unix.Read(int(fd), b)
		return true
	})
	if err := errors.Join(err, rerr); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %q, %v", b[:max(n, 0)], err)
	}
}

func TestTheNodesSocketsAreUsed(t *testing.T) {
	want := &Log{tag: "x", journal: "/run/systemd/journal/socket", syslog: "/dev/log"}
	if got := New("x"); *got != *want {
		t.Errorf("got %+v", got)
	}
}
