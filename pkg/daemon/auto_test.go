// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

func TestAnAutoStartedReaperThatFailsBeforeItHasALogLeavesATrace(t *testing.T) {
	long := "/" + strings.Repeat("x", 95)
	for _, tt := range []struct {
		name    string
		args    []string          // after reaper --auto
		env     map[string]string // besides the state directory
		prepare func(dir string) error
		code    int
		says    string
		file    bool // in the state directory too
	}{
		{name: "of a wrong value in the environment", env: map[string]string{"HALFCLOSE_MODE": "kill"}, code: 2, says: `HALFCLOSE_MODE="kill"`, file: true},
		{name: "of one that cannot be", env: map[string]string{"HALFCLOSE_FINDER": "none"}, code: 2, says: `not "none"`, file: true},
		{name: "of a flag that does not exist", args: []string{"--now"}, code: 2, says: "--now", file: true},
		{name: "of an argument", args: []string{"now"}, code: 2, says: `"now"`, file: true},
		{name: "of a state directory that is none", prepare: func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, code: 1, says: "make the state directory"},
		{name: "of a state directory whose path is too long", args: []string{"--state-dir", long}, code: 2, says: "has 96 bytes"},
		{name: "of no state directory", args: []string{"--state-dir", ""}, code: 2, says: "--state-dir is a directory"},
		{name: "of a log file that is none", prepare: func(dir string) error { return os.MkdirAll(filepath.Join(dir, "reaper.log"), 0o700) }, code: 1, says: "open log file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat(systemlog.DefaultJournalSocket); err == nil && strings.Contains(tt.says, "log file") {
				t.Skip("this node has a journal, which is written to in place of the file")
			}
			dir := filepath.Join(t.TempDir(), "state")
			if tt.prepare == nil {
				tt.prepare = func(dir string) error { return os.Mkdir(dir, 0o700) } // the plugin has put a record there
			}
			if err := tt.prepare(dir); err != nil {
				t.Fatal(err)
			}
			t.Setenv("HALFCLOSE_STATE_DIR", dir)
			var stderr bytes.Buffer
			var syslog []string
			reaper := daemon.Command(daemon.Environment{
				Getenv: func(name string) string { return tt.env[name] },
				Syslog: func(message string, args ...any) { syslog = append(syslog, message+" "+fmt.Sprint(args...)) },
			})
			code := cli.Main(append([]string{"reaper", "--auto"}, tt.args...), &stderr, &stderr, reaper)
			if code != tt.code || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, stderr.String())
			}
			if len(syslog) != 1 || !strings.HasPrefix(syslog[0], "reaper ends ") || !strings.Contains(syslog[0], tt.says) {
				t.Errorf("in the system log: %q", syslog)
			}
			log, err := os.ReadFile(filepath.Join(dir, "reaper.log"))
			said := strings.ReplaceAll(string(log), `\"`, `"`)
			if tt.file && (err != nil || !strings.Contains(said, tt.says) || strings.Count(said, "\n") != 1) {
				t.Errorf("in the file: %q, %v", log, err)
			}
		})
	}
}

func TestAReaperThatWasNotAutoStartedLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"--now"}, {"--finder", "none"}, {"now"}} {
		var stderr bytes.Buffer
		reaper := daemon.Command(daemon.Environment{
			Getenv: func(string) string { return "" },
			Syslog: func(message string, args ...any) { t.Errorf("in the system log: %s %v", message, args) },
		})
		if code := cli.Main(append([]string{"reaper", "--state-dir", dir}, args...), &stderr, &stderr, reaper); code != 2 {
			t.Errorf("%v: exit code %d, want 2: %s", args, code, stderr.String())
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("in the state directory: %v, %v", files, err)
	}
}
