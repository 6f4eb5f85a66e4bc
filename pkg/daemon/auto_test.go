// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

func TestAnAutoStartedReaperThatFailsBeforeItHasALogReportsWhy(t *testing.T) {
	long := "/" + strings.Repeat("x", 95)
	for _, tt := range []struct {
		name    string
		args    []string          // after reaper --auto
		env     map[string]string // in addition to the state directory
		prepare func(dir string) error
		code    int
		want    string
		file    bool // the error is in the state directory too
	}{
		{name: "of a wrong value in the environment", env: map[string]string{"HALFCLOSE_MODE": "kill"}, code: 2, want: `HALFCLOSE_MODE="kill"`, file: true},
		{name: "of an invalid value in the environment", env: map[string]string{"HALFCLOSE_FINDER": "none"}, code: 2, want: `not "none"`, file: true},
		{name: "of a flag that does not exist", args: []string{"--now"}, code: 2, want: "--now", file: true},
		{name: "of an argument", args: []string{"now"}, code: 2, want: `"now"`, file: true},
		{name: "of a file as the state directory", prepare: func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, code: 1, want: "create the state directory"},
		{name: "of a state directory whose path is too long", args: []string{"--state-dir", long}, code: 2, want: "has 96 bytes"},
		{name: "of no state directory", args: []string{"--state-dir", ""}, code: 2, want: "--state-dir is empty"},
		{name: "of a directory as the log file", prepare: func(dir string) error { return os.MkdirAll(filepath.Join(dir, "reaper.log"), 0o700) }, code: 1, want: "open log file"},
		{name: "of a FIFO as the log file", prepare: func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), unix.Mkfifo(filepath.Join(dir, "reaper.log"), 0o600))
		}, code: 1, want: "open log file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat(systemlog.DefaultJournalSocket); err == nil && strings.Contains(tt.want, "log file") {
				t.Skip("this node has a journal, which is used instead of the file")
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
			if code != tt.code || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, stderr.String())
			}
			if len(syslog) != 1 || !strings.HasPrefix(syslog[0], "reaper exits ") || !strings.Contains(syslog[0], tt.want) {
				t.Errorf("in the system log: %q", syslog)
			}
			if !tt.file {
				return
			}
			log, err := os.ReadFile(filepath.Join(dir, "reaper.log"))
			said := strings.ReplaceAll(string(log), `\"`, `"`)
			if err != nil || !strings.Contains(said, tt.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("in the file: %q, %v", log, err)
			}
		})
	}
}

func TestAReaperThatWasNotAutoStartedReportsOnStderrOnly(t *testing.T) {
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

// A reaper runs as root: no file of another user in such a directory may lead it to root's files.
func TestAReaperRefusesAStateDirectoryThatAnotherUserCanWriteTo(t *testing.T) {
	const text = "root's own"
	for name, spoil := range map[string]func(dir string) error{
		"of another user": func(dir string) error { return os.Chown(dir, 65534, -1) },
		"open to all":     func(dir string) error { return os.Chmod(dir, 0o777) },
	} {
		for _, auto := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, auto %v", name, auto), func(t *testing.T) {
				target := filepath.Join(t.TempDir(), "target")
				if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				for _, file := range []string{"reaper.lock", "reaper.log", "reaper.sock", "candidates"} {
					if err := os.Symlink(target, filepath.Join(dir, file)); err != nil {
						t.Fatal(err)
					}
				}
				if err := spoil(dir); err != nil {
					nstest.NeedPrivilege(t, "give a directory to another user", err)
				}
				var stderr bytes.Buffer
				logged := 0
				reaper := daemon.Command(daemon.Environment{
					Getenv: func(string) string { return "" },
					Syslog: func(string, ...any) { logged++ },
				})
				args := []string{"reaper", "--state-dir", dir}
				if auto {
					args = append(args, "--auto")
				}
				code := cli.Main(args, &stderr, &stderr, reaper)
				if code != 1 || !strings.Contains(stderr.String(), dir) || !strings.Contains(stderr.String(), "run ch") {
					t.Errorf("exit code %d: %s", code, stderr.String())
				}
				if auto != (logged == 1) {
					t.Errorf("%d lines in the system log", logged)
				}
				info, err := os.Stat(target)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(target); err != nil || string(got) != text || info.Mode() != 0o644 {
					t.Errorf("the links' target has %q, %v, %v", got, info.Mode(), err)
				}
			})
		}
	}
}
