// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/slogtest"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/journaltest"
)

// newStream makes a file to be stderr, and returns it with what $JOURNAL_STREAM is where it is the stream to
// the journal.
func newStream(t *testing.T) (stderr *os.File, stream string) {
	t.Helper()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	fi, err := stderr.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return stderr, fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// logged logs with write, and returns what was written to the file since it was empty.
func logged(t *testing.T, stderr *os.File, opts Options, write func(*slog.Logger)) string {
	t.Helper()
	opts.Stderr = stderr
	log, closer, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	write(log)
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// everyLevel logs a line of each level, and what must not be taken for the record's own time.
func everyLevel(log *slog.Logger) {
	log = log.With("with", 1).WithGroup("g")
	log.Debug("d")
	log.Info("i")
	log.Warn("w", "time", "kept")
	log.Error("e")
}

func TestOnTheJournalsStreamTextGoesToTheJournalItself(t *testing.T) {
	stderr, stream := newStream(t)
	t.Setenv("JOURNAL_STREAM", stream)
	d := journaltest.New(t)
	if got := logged(t, stderr, Options{JournalSocket: d.Path}, everyLevel); got != "" {
		t.Errorf("on stderr, and so a second time in the journal:\n%s", got)
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
		{"text, where the journal's socket cannot be reached", Text, filepath.Join(t.TempDir(), "none"), `<6>level=INFO msg=i with=1
<4>level=WARN msg=w with=1 g.time=kept
<3>level=ERROR msg=e with=1
`},
		{"JSON, if a flag asks for it", JSON, d.Path, `<6>{"level":"INFO","msg":"i","with":1}
<4>{"level":"WARN","msg":"w","with":1,"g":{"time":"kept"}}
<3>{"level":"ERROR","msg":"e","with":1}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stderr, stream := newStream(t)
			t.Setenv("JOURNAL_STREAM", stream)
			got := logged(t, stderr, Options{Format: tt.format, JournalSocket: tt.socket}, everyLevel)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("stderr (-want +got)\n%s", diff)
			}
		})
	}
}

func TestOnAnyOtherStderrLinesHaveTheirTime(t *testing.T) {
	d := journaltest.New(t)
	stderr, stream := newStream(t)
	for name, value := range map[string]string{
		"not under systemd":        "",
		"stderr was redirected":    stream + "0",
		"the variable is nonsense": "what",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", value)
			if err := stderr.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if _, err := stderr.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got := logged(t, stderr, Options{JournalSocket: d.Path}, everyLevel)
			if lines := strings.Split(got, "\n"); len(lines) != 4 || strings.Count(got, "time=2") != 3 || !strings.HasPrefix(got, "time=") {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}

func TestDebugIsThePriorityOfDebug(t *testing.T) {
	stderr, stream := newStream(t)
	t.Setenv("JOURNAL_STREAM", stream)
	opts := Options{Level: slog.LevelDebug, JournalSocket: filepath.Join(t.TempDir(), "none")}
	got := logged(t, stderr, opts, func(log *slog.Logger) { log.Debug("d") })
	if want := "<7>level=DEBUG msg=d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheStreamHandlerIsOne(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t,
		func(*testing.T) slog.Handler {
			b.Reset()
			return newStreamHandler(&b, Options{Format: JSON})
		},
		func(t *testing.T) map[string]any {
			m := make(map[string]any)
			if err := json.Unmarshal(b.Bytes()[len("<6>"):], &m); err != nil {
				t.Fatalf("%q: %v", &b, err)
			}
			if !strings.HasSuffix(t.Name(), "/zero-time") {
				m[slog.TimeKey] = "the journal's" // a line has no time of ours, ever
			}
			return m
		})
}
