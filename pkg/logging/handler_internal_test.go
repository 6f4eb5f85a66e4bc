// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/journaltest"
)

// newLogger returns a logger to a journal of the test's own, at level debug.
func newLogger(t *testing.T) (*slog.Logger, *journaltest.Journald) {
	t.Helper()
	d := journaltest.New(t)
	log, closer, err := New(Options{Auto: true, JournalSocket: d.Path, Level: slog.LevelDebug})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return log, d
}

// nilText panics when it is asked for its text through a nil pointer.
type nilText struct{ s string }

func (n *nilText) MarshalText() ([]byte, error) { return []byte(n.s), nil }

func TestEachRecordIsOneEntry(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want map[string]string
	}{
		{
			name: "a plain message",
			log:  func(l *slog.Logger) { l.Info("started") },
			want: map[string]string{"MESSAGE": "started", "PRIORITY": "6"},
		},
		{
			name: "attributes are in the message and are fields",
			log: func(l *slog.Logger) {
				l.Warn("destroyed", "state", "CLOSE_WAIT", "age", 90*time.Second, "rqueue", 0)
			},
			want: map[string]string{
				"MESSAGE": "destroyed state=CLOSE_WAIT age=1m30s rqueue=0", "PRIORITY": "4",
				"STATE": "CLOSE_WAIT", "AGE": "1m30s", "RQUEUE": "0",
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
			name: "values are printed as text",
			log: func(l *slog.Logger) {
				l.Debug("x", "local", netip.MustParseAddrPort("[::1]:80"), "err", errors.New("no such file"),
					"at", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
			},
			want: map[string]string{
				"MESSAGE":  `x local=[::1]:80 err="no such file" at=2026-01-02T03:04:05.000006Z`,
				"PRIORITY": "7", "LOCAL": "[::1]:80", "ERR": "no such file", "AT": "2026-01-02T03:04:05.000006Z",
			},
		},
		{
			name: "what a pod's owner wrote breaks no line and makes no field",
			log:  func(l *slog.Logger) { l.Info("warning\nPRIORITY=0", "text", "a\nPRIORITY=0\n\x1b[2J") },
			want: map[string]string{
				"MESSAGE":  `warning PRIORITY=0 text="a\nPRIORITY=0\n\x1b[2J"`,
				"PRIORITY": "6", "TEXT": "a\nPRIORITY=0\n\x1b[2J",
			},
		},
		{
			name: "an attribute cannot pose as one of the entry's own fields",
			log:  func(l *slog.Logger) { l.Info("x", "message", "m", "priority", "0", "_UID", "0", "syslog_pid", "1") },
			want: map[string]string{
				"MESSAGE": "x message=m priority=0 _UID=0 syslog_pid=1", "PRIORITY": "6",
				"HALFCLOSE_MESSAGE": "m", "HALFCLOSE_PRIORITY": "0", "HALFCLOSE__UID": "0", "HALFCLOSE_SYSLOG_PID": "1",
			},
		},
		{
			name: "a value that panics takes nothing with it",
			log:  func(l *slog.Logger) { l.Info("x", "v", (*nilText)(nil)) },
			want: map[string]string{
				"MESSAGE":  `x v="!PANIC: runtime error: invalid memory address or nil pointer dereference"`,
				"PRIORITY": "6", "V": "!PANIC: runtime error: invalid memory address or nil pointer dereference",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, d := newLogger(t)
			tt.log(log)
			tt.want["SYSLOG_IDENTIFIER"] = Identifier
			if diff := cmp.Diff(tt.want, d.Next(t)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestWhatIsBelowTheLevelIsNotSent(t *testing.T) {
	d := journaltest.New(t)
	log, closer, err := New(Options{Auto: true, JournalSocket: d.Path, Level: slog.LevelWarn})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	log.Info("quiet")
	log.Warn("loud")
	if got := d.Next(t)["MESSAGE"]; got != "loud" {
		t.Errorf("got %q first", got)
	}
}

func TestDerivedLoggersDoNotShareAttributes(t *testing.T) {
	log, d := newLogger(t)
	base := log.With("a", 1).With("b", 2).With("c", 3)
	one, two := base.With("n", "one"), base.With("n", "two")
	one.Info("x", "p", 1)
	two.Info("x", "p", 2)
	for _, want := range []string{"x a=1 b=2 c=3 n=one p=1", "x a=1 b=2 c=3 n=two p=2"} {
		if got := d.Next(t)["MESSAGE"]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The standard library's own claims about a handler, on what MESSAGE says.
func TestTheHandlerKeepsSlogsContract(t *testing.T) {
	var d *journaltest.Journald
	slogtest.Run(t,
		func(t *testing.T) slog.Handler {
			var log *slog.Logger
			log, d = newLogger(t)
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
				got[slog.TimeKey] = "journald's" // an entry has no time of ours, ever
			}
			return got
		})
}
