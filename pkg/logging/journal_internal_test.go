// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// journald stands in for the daemon: it reads the datagrams of a real socket.
type journald struct {
	path string
	conn *net.UnixConn
}

func newJournald(t *testing.T) *journald {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	return &journald{path: path, conn: listenGram(t, path)}
}

func listenGram(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// next reads one entry.
func (j *journald) next(t *testing.T) map[string]string {
	t.Helper()
	return parseEntry(t, nextGram(t, j.conn))
}

func nextGram(t *testing.T, conn *net.UnixConn) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// parseEntry reads the native protocol as its page describes it.
func parseEntry(t *testing.T, b []byte) map[string]string {
	t.Helper()
	entry := map[string]string{}
	rest := string(b)
	for rest != "" {
		head, tail, ok := strings.Cut(rest, "\n")
		if !ok {
			t.Fatalf("no newline at the end of %q", b)
		}
		name, value, ok := strings.Cut(head, "=")
		if !ok {
			n := binary.LittleEndian.Uint64([]byte(tail[:8]))
			value, tail = tail[8:8+n], strings.TrimPrefix(tail[8+n:], "\n")
		}
		if _, twice := entry[name]; twice {
			t.Errorf("field %s is there twice", name)
		}
		entry[name], rest = value, tail
	}
	return entry
}

func send(j *journal, deadline time.Time, message string) error {
	return j.send(deadline, func(lost int, small bool) []byte {
		return entry("test", priorityInfo, message, nil, lost, small)
	})
}

// fill sends until the reader's queue is full.
func fill(t *testing.T, j *journal) (queued int) {
	t.Helper()
	for {
		err := send(j, time.Now().Add(time.Millisecond), "filler")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return queued
		}
		if err != nil {
			t.Fatal(err)
		}
		queued++
	}
}

func TestAStuckJournalIsNotWaitedForAndTheLossIsTold(t *testing.T) {
	d := newJournald(t)
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	queued := fill(t, j) // its last line was the first one lost

	// However much time this line has, it does not wait behind the one that waited in vain.
	if err := send(j, time.Now().Add(time.Hour), "lost too"); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("got %v, want EAGAIN", err)
	}
	for range queued {
		d.next(t)
	}
	for _, want := range []map[string]string{
		{"MESSAGE": "first lost_lines=2", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "test", "LOST_LINES": "2"},
		{"MESSAGE": "second", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "test"},
	} {
		message, _, _ := strings.Cut(want["MESSAGE"], " ")
		if err := send(j, time.Now().Add(time.Minute), message); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.next(t)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestALineIsTriedHoweverLateItIs(t *testing.T) {
	d := newJournald(t)
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := send(j, time.Now().Add(-time.Hour), "late"); err != nil {
		t.Fatal(err)
	}
	if got := d.next(t)["MESSAGE"]; got != "late" {
		t.Errorf("got %q", got)
	}
}

func TestABusyJournalIsWaitedFor(t *testing.T) {
	d := newJournald(t)
	filler, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	queued := fill(t, filler)
	sent := make(chan error)
	go func() { sent <- send(j, time.Now().Add(time.Minute), "patient") }()
	for range queued {
		d.next(t)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := d.next(t)["MESSAGE"]; got != "patient" {
		t.Errorf("got %q", got)
	}
}

func TestANewJournaldIsFound(t *testing.T) {
	d := newJournald(t)
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	d.conn.Close()
	if err := os.Remove(d.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := send(j, time.Now().Add(time.Minute), "nobody there"); err == nil {
		t.Fatal("a line was sent to nobody")
	}
	d.conn = listenGram(t, d.path)
	if err := send(j, time.Now().Add(time.Minute), "hello"); err != nil {
		t.Fatal(err)
	}
	if got := d.next(t)["MESSAGE"]; got != "hello lost_lines=1" {
		t.Errorf("got %q", got)
	}
}

func TestAnEntryThatIsTooLargeKeepsItsMessage(t *testing.T) {
	d := newJournald(t)
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	attrs := []attr{{"first", "1"}}
	for i := range 64 {
		attrs = append(attrs, attr{"key" + string(rune('0'+i)), strings.Repeat("x", maxValue)})
	}
	err = j.send(time.Now().Add(time.Minute), func(lost int, small bool) []byte {
		return entry("test", priorityError, "large", attrs, lost, small)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := d.next(t)
	if !strings.HasPrefix(got["MESSAGE"], "large first=1 key0=xxx") || !strings.HasSuffix(got["MESSAGE"], "x...") {
		t.Errorf("MESSAGE is %.80q...", got["MESSAGE"])
	}
	delete(got, "MESSAGE")
	want := map[string]string{"PRIORITY": "3", "SYSLOG_IDENTIFIER": "test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNothingIsSentAfterClose(t *testing.T) {
	d := newJournald(t)
	j, err := dialJournal(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Errorf("close, twice: %v", err)
	}
	if err := send(j, time.Now().Add(time.Minute), "late"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestNoJournalIsAnErrorWithItsErrno(t *testing.T) {
	_, err := dialJournal(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want ENOENT", err)
	}
}

func TestTruncate(t *testing.T) {
	for _, tt := range []struct {
		name, give, want string
	}{
		{"what fits stays", strings.Repeat("x", maxValue), strings.Repeat("x", maxValue)},
		{"what does not is cut and shows it", strings.Repeat("x", maxValue+1), strings.Repeat("x", maxValue) + "..."},
		{"no half rune stays", strings.Repeat("x", maxValue-1) + "é", strings.Repeat("x", maxValue-1) + "..."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := truncate(tt.give); got != tt.want {
				t.Errorf("got %d bytes ending in %q", len(got), got[max(0, len(got)-8):])
			}
		})
	}
}
