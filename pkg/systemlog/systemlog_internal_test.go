// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/journaltest"
)

// testLog returns a system log with sockets of the test, which nothing listens on yet.
func testLog(t *testing.T) (l Log, syslogSocket string) {
	t.Helper()
	dir := t.TempDir()
	syslogSocket = filepath.Join(dir, "log")
	return Log{journalSocket: filepath.Join(dir, "journal"), syslogSocket: syslogSocket}, syslogSocket
}

func TestAWarningGoesToJournaldFirst(t *testing.T) {
	l, syslogSocket := testLog(t)
	d := &journaltest.Journald{Path: l.journalSocket, Conn: journaltest.Listen(t, l.journalSocket)}
	syslogd := journaltest.Listen(t, syslogSocket)
	l.Warn("bad value", "path", ".grace")
	want := map[string]string{
		"MESSAGE": "bad value path=.grace", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "halfclose", "PATH": ".grace",
	}
	if diff := cmp.Diff(want, d.Next(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	expectNothing(t, syslogd)
}

func TestAWarningGoesToSyslogWithoutJournald(t *testing.T) {
	l, syslogSocket := testLog(t)
	syslogd := journaltest.Listen(t, syslogSocket)
	l.Warn("bad\nvalue", "path", "\x1b[2J")
	want := regexp.MustCompile(`^<28>.* halfclose\[\d+\]: bad value path="\\x1b\[2J"\n$`)
	if got := journaltest.NextDatagram(t, syslogd); !want.Match(got) {
		t.Errorf("got %q", got)
	}
}

func TestAWarningIsDroppedWithoutJournaldAndSyslog(t *testing.T) {
	l, _ := testLog(t)
	l.Warn("bad value", "path", ".grace")
}

func TestAWarningDoesNotWaitForAStuckReader(t *testing.T) {
	for name, stuck := range map[string]func(l Log, syslogSocket string) string{
		"journald": func(l Log, _ string) string { return l.journalSocket },
		"syslog":   func(_ Log, syslogSocket string) string { return syslogSocket },
	} {
		t.Run(name, func(t *testing.T) {
			l, syslogSocket := testLog(t)
			path := stuck(l, syslogSocket)
			journaltest.Listen(t, path)
			fill(t, path)
			l.Warn("bad value", "path", ".grace") // the test hangs if it waits
		})
	}
}

// fill sends datagrams to a socket until its queue is full, and returns their number.
func fill(t *testing.T, path string) (queued int) {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for ; ; queued++ {
		if err := conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("MESSAGE=filler\n")); errors.Is(err, os.ErrDeadlineExceeded) {
			return queued
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestABlockedWriteGoesOnWhenJournaldReads(t *testing.T) {
	d := journaltest.New(t)
	queued := fill(t, d.Path)
	j, err := DialJournal(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	written := make(chan error)
	go func() {
		_, err := j.Write([]byte("MESSAGE=patient\n"))
		written <- err
	}()
	for range queued {
		d.Next(t)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := d.Next(t)["MESSAGE"]; got != "patient" {
		t.Errorf("got %q", got)
	}
}

// cpuTime returns the CPU time of this process.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// A write to an unconnected socket would use all of a core until there is room.
func TestABlockedWriteCostsNoCPU(t *testing.T) {
	d := journaltest.New(t)
	fill(t, d.Path)
	j, err := DialJournal(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	before := cpuTime(t)
	const wait = 500 * time.Millisecond
	if err := j.conn.SetWriteDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.conn.Write([]byte("MESSAGE=patient\n")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if used := cpuTime(t) - before; used > wait/4 {
		t.Errorf("%v of CPU in %v", used, wait)
	}
}

func TestANewJournaldIsFound(t *testing.T) {
	d := journaltest.New(t)
	j, err := DialJournal(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	d.Conn.Close()
	if err := os.Remove(d.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := j.Write([]byte("MESSAGE=lost\n")); err == nil {
		t.Fatal("a write without journald succeeded")
	}
	d.Conn = journaltest.Listen(t, d.Path)
	if _, err := j.Write([]byte("MESSAGE=hello\n")); err != nil {
		t.Fatal(err)
	}
	if got := d.Next(t)["MESSAGE"]; got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestNoJournaldIsAnErrorWithItsErrno(t *testing.T) {
	_, err := DialJournal(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want ENOENT", err)
	}
}

// expectNothing fails the test if a datagram is in the socket's queue.
func expectNothing(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	rc, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var readErr error
	b := make([]byte, 1<<10)
	err = rc.Read(func(fd uintptr) bool {
		n, readErr = unix.Read(int(fd), b)
		return true
	})
	if err := errors.Join(err, readErr); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %q, %v", bytes.TrimSpace(b[:max(n, 0)]), err)
	}
}
