// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/journaltest"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

// newJournalLogger returns a logger of an auto-started reaper to a journald of the test.
func newJournalLogger(t *testing.T, level slog.Level) (*slog.Logger, *journaltest.Journald) {
	t.Helper()
	d := journaltest.New(t)
	log, closer, err := New(Options{Auto: true, JournalSocket: d.Path, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return log, d
}

// nilText panics if its text is asked for through a nil pointer.
type nilText struct{ s string }

func (n *nilText) MarshalText() ([]byte, error) { return []byte(n.s), nil }

func TestEachRecordIsOneEntry(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want map[string]string
	}{
		{
			name: "a message alone",
			log:  func(l *slog.Logger) { l.Info("started") },
			want: map[string]string{"MESSAGE": "started", "PRIORITY": "6"},
		},
		{
			name: "attributes are in the message and are fields",
			log: func(l *slog.Logger) {
				l.Warn("destroyed", "state", "CLOSE_WAIT", "age", 90*time.Second, "rqueue", 0, "commands", []string{"a b", "c"})
			},
			want: map[string]string{
				"MESSAGE": `destroyed state=CLOSE_WAIT age=1m30s rqueue=0 commands="[a b c]"`, "PRIORITY": "4",
				"STATE": "CLOSE_WAIT", "AGE": "1m30s", "RQUEUE": "0", "COMMANDS": "[a b c]",
			},
		},
		{
			name: "groups become prefixes",
			log: func(l *slog.Logger) {
				l.With("finder", "sockdiag").WithGroup("pod").With("namespace", "default").
					Error("x", "name", "web", slog.Group("limits", "grace", "1s"))
			},
			want: map[string]string{
				"MESSAGE":  "x finder=sockdiag pod.namespace=default pod.name=web pod.limits.grace=1s",
				"PRIORITY": "3", "FINDER": "sockdiag",
				"POD_NAMESPACE": "default", "POD_NAME": "web", "POD_LIMITS_GRACE": "1s",
			},
		},
		{
			name: "values are their text",
			log: func(l *slog.Logger) {
				l.Debug("x", "local", netip.MustParseAddrPort("[::1]:80"), "err", errors.New(`open "a=b": no such file`),
					"at", time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), "empty", "")
			},
			want: map[string]string{
				"MESSAGE":  `x local=[::1]:80 err="open \"a=b\": no such file" at=2026-01-02T03:04:05.006Z empty=""`,
				"PRIORITY": "7", "LOCAL": "[::1]:80", "ERR": `open "a=b": no such file`, "AT": "2026-01-02T03:04:05.006Z", "EMPTY": "",
			},
		},
		{
			name: "text of a pod's owner breaks no line and adds no field",
			log: func(l *slog.Logger) {
				l.Info("warning\nPRIORITY=0", "text", "a\nPRIORITY=0\n\x1b[2J", "k =v", "`x` y=z")
			},
			want: map[string]string{
				"MESSAGE":  `warning PRIORITY=0 text="a\nPRIORITY=0\n\x1b[2J" "k =v"="` + "`x` y=z" + `"`,
				"PRIORITY": "6", "TEXT": "a\nPRIORITY=0\n\x1b[2J", "K__V": "`x` y=z",
			},
		},
		{
			name: "an attribute is not taken for level or message",
			log:  func(l *slog.Logger) { l.Info("x", "level", "ERROR", "msg", "y", "time", "z") },
			want: map[string]string{"MESSAGE": "x level=ERROR msg=y", "PRIORITY": "6", "LEVEL": "ERROR", "MSG": "y"},
		},
		{
			name: "a value that panics does not stop the process",
			log:  func(l *slog.Logger) { l.Info("x", "v", (*nilText)(nil)) },
			want: map[string]string{"MESSAGE": "x v=<nil>", "PRIORITY": "6", "V": "<nil>"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, d := newJournalLogger(t, slog.LevelDebug)
			tt.log(log)
			tt.want["SYSLOG_IDENTIFIER"] = "halfclose"
			if diff := cmp.Diff(tt.want, d.Next(t)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLinesBelowTheLevelAreNotSent(t *testing.T) {
	log, d := newJournalLogger(t, slog.LevelWarn)
	log.Info("quiet")
	log.Warn("loud")
	if got := d.Next(t)["MESSAGE"]; got != "loud" {
		t.Errorf("got %q first", got)
	}
}

// The standard library's claims about a handler, checked on MESSAGE.
func TestEntriesKeepTheContractOfSlog(t *testing.T) {
	var d *journaltest.Journald
	slogtest.Run(t,
		func(t *testing.T) slog.Handler {
			var log *slog.Logger
			log, d = newJournalLogger(t, slog.LevelDebug)
			return log.Handler()
		},
		func(t *testing.T) map[string]any {
			entry := d.Next(t)
			words := strings.Fields(entry["MESSAGE"])
			got := map[string]any{slog.MessageKey: words[0], slog.LevelKey: entry["PRIORITY"]}
			for _, w := range words[1:] {
				key, value, _ := strings.Cut(w, "=")
				at := got
				for group, rest, ok := strings.Cut(key, "."); ok; group, rest, ok = strings.Cut(key, ".") {
					if at[group] == nil {
						at[group] = map[string]any{}
					}
					at, key = at[group].(map[string]any), rest
				}
				at[key] = value
			}
			if !strings.HasSuffix(t.Name(), "/zero-time") {
				got[slog.TimeKey] = "journald's" // an entry has no time of its own
			}
			return got
		})
}

// logged returns the lines on stderr of a logger whose stderr journald reads.
func logged(t *testing.T, opts Options, write func(*slog.Logger)) string {
	t.Helper()
	var stderr bytes.Buffer
	opts.Stderr = &stderr
	log, closer := stderrLogger(opts, true)
	write(log)
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	return stderr.String()
}

// everyLevel logs a line of each level, one of them with an attribute that has the name of the record's time.
func everyLevel(log *slog.Logger) {
	log = log.With("with", 1).WithGroup("g")
	log.Debug("d")
	log.Info("i")
	log.Warn("w", "time", "kept")
	log.Error("e")
}

func TestOnTheJournalsStreamTextGoesToJournald(t *testing.T) {
	d := journaltest.New(t)
	if got := logged(t, Options{Format: Text, JournalSocket: d.Path}, everyLevel); got != "" {
		t.Errorf("on stderr, and so twice in journald:\n%s", got)
	}
	for _, want := range []map[string]string{
		{"MESSAGE": "i with=1", "PRIORITY": "6", "WITH": "1", "SYSLOG_IDENTIFIER": "halfclose"},
		{"MESSAGE": "w with=1 g.time=kept", "PRIORITY": "4", "WITH": "1", "G_TIME": "kept", "SYSLOG_IDENTIFIER": "halfclose"},
		{"MESSAGE": "e with=1", "PRIORITY": "3", "WITH": "1", "SYSLOG_IDENTIFIER": "halfclose"},
	} {
		if diff := cmp.Diff(want, d.Next(t)); diff != "" {
			t.Errorf("the entry (-want +got)\n%s", diff)
		}
	}
}

func TestOnTheJournalsStreamLinesHaveTheirPriorityAndNoTime(t *testing.T) {
	d := journaltest.New(t)
	for _, tt := range []struct{ name, format, socket, want string }{
		{"text without journald's socket", Text, filepath.Join(t.TempDir(), "none"), `<7>level=DEBUG msg=d with=1
<6>level=INFO msg=i with=1
<4>level=WARN msg=w with=1 g.time=kept
<3>level=ERROR msg=e with=1
`},
		{"JSON", JSON, d.Path, `<7>{"level":"DEBUG","msg":"d","with":1}
<6>{"level":"INFO","msg":"i","with":1}
<4>{"level":"WARN","msg":"w","with":1,"g":{"time":"kept"}}
<3>{"level":"ERROR","msg":"e","with":1}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := logged(t, Options{Format: tt.format, JournalSocket: tt.socket, Level: slog.LevelDebug}, everyLevel)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("stderr (-want +got)\n%s", diff)
			}
		})
	}
}

func TestLinesWithAPriorityKeepTheContractOfSlog(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t,
		func(*testing.T) slog.Handler {
			b.Reset()
			return lineHandler(priorityWriter{&b}, Options{Format: JSON}, withoutTime)
		},
		func(t *testing.T) map[string]any {
			m := make(map[string]any)
			if err := json.Unmarshal(b.Bytes()[len("<6>"):], &m); err != nil {
				t.Fatalf("%q: %v", &b, err)
			}
			if !strings.HasSuffix(t.Name(), "/zero-time") {
				m[slog.TimeKey] = "journald's" // a line has no time of its own
			}
			return m
		})
}

// go-systemd compares file descriptor 2 with $JOURNAL_STREAM: no other writer is the stream.
func TestAnyOtherWriterThanStderrIsNotTheJournalsStream(t *testing.T) {
	for _, w := range []io.Writer{&bytes.Buffer{}, os.Stdout} {
		if isJournalStream(w) {
			t.Errorf("%T is taken for journald's stream", w)
		}
	}
}

// journald's queue is full, and it does not read.
func TestAStuckJournaldBlocksNoCaller(t *testing.T) {
	d := journaltest.New(t)
	log, closer, err := New(Options{Auto: true, JournalSocket: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	const lines = 3 * maxQueuedLines
	for n := range lines {
		log.Info("x", "n", n)
	}
	if err := closer.Close(); err == nil {
		t.Error("no error although lines are left")
	}
	go func() { // journald reads again
		b := make([]byte, 1<<16)
		for {
			if _, err := d.Conn.Read(b); err != nil {
				return
			}
		}
	}()
	nstest.Eventually(t, 30*time.Second, "the lines in the queue are sent", func() bool { return closer.Close() == nil })
}

func TestLostLinesAreInTheMessageAndAField(t *testing.T) {
	d := journaltest.New(t)
	j, err := systemlog.DialJournal(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := (entryWriter{j}).Write(lostCounter(Text)([]byte("level=WARN msg=x\n"), 2)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"MESSAGE": "x lost_lines=2", "LOST_LINES": "2", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "halfclose"}
	if diff := cmp.Diff(want, d.Next(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
