// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/journaltest"
)

func send(j *Journal, deadline time.Time, message string) error {
	return j.Send(deadline, func(lost int, small bool) []byte {
		return Entry("test", PriorityInfo, message, nil, lost, small)
	})
}

// fill sends until the reader's queue is full.
func fill(t *testing.T, j *Journal) (queued int) {
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
	d := journaltest.New(t)
	j, err := Dial(d.Path)
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
		d.Next(t)
	}
	for _, want := range []map[string]string{
		{"MESSAGE": "first lost_lines=2", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "test", "LOST_LINES": "2"},
		{"MESSAGE": "second", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "test"},
	} {
		message, _, _ := strings.Cut(want["MESSAGE"], " ")
		if err := send(j, time.Now().Add(time.Minute), message); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.Next(t)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestALineIsTriedHoweverLateItIs(t *testing.T) {
	d := journaltest.New(t)
	j, err := Dial(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := send(j, time.Now().Add(-time.Hour), "late"); err != nil {
		t.Fatal(err)
	}
	if got := d.Next(t)["MESSAGE"]; got != "late" {
		t.Errorf("got %q", got)
	}
}

func TestABusyJournalIsWaitedFor(t *testing.T) {
	d := journaltest.New(t)
	filler, err := Dial(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	j, err := Dial(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	queued := fill(t, filler)
	sent := make(chan error)
	go func() { sent <- send(j, time.Now().Add(time.Minute), "patient") }()
	for range queued {
		d.Next(t)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := d.Next(t)["MESSAGE"]; got != "patient" {
		t.Errorf("got %q", got)
	}
}

func TestANewJournaldIsFound(t *testing.T) {
	d := journaltest.New(t)
	j, err := Dial(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	d.Conn.Close()
	if err := os.Remove(d.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := send(j, time.Now().Add(time.Minute), "nobody there"); err == nil {
		t.Fatal("a line was sent to nobody")
	}
	d.Conn = journaltest.Listen(t, d.Path)
	if err := send(j, time.Now().Add(time.Minute), "hello"); err != nil {
		t.Fatal(err)
	}
	if got := d.Next(t)["MESSAGE"]; got != "hello lost_lines=1" {
		t.Errorf("got %q", got)
	}
}

func TestAnEntryThatIsTooLargeKeepsItsMessage(t *testing.T) {
	d := journaltest.New(t)
	j, err := Dial(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	attrs := []Attr{{"first", "1"}}
	for i := range 64 {
		attrs = append(attrs, Attr{"key" + string(rune('0'+i)), strings.Repeat("x", maxValue)})
	}
	err = j.Send(time.Now().Add(time.Minute), func(lost int, small bool) []byte {
		return Entry("test", PriorityError, "large", attrs, lost, small)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := d.Next(t)
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
	d := journaltest.New(t)
	j, err := Dial(d.Path)
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
	_, err := Dial(filepath.Join(t.TempDir(), "none"))
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

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"pod.name":              "POD_NAME",
		"closeWait":             "CLOSEWAIT",
		"":                      "HALFCLOSE_",
		"2nd":                   "HALFCLOSE_2ND",
		"a=b\nc":                "A_B_C",
		"é":                     "HALFCLOSE__",
		strings.Repeat("k", 70): strings.Repeat("K", 64),
		"halfclose.namespace":   "HALFCLOSE_NAMESPACE",
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}
