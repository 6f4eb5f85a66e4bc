// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
			var stderr bytes.Buffer
			var syslog []string
			code := run(t.Context(), append([]string{"reaper", "--auto"}, tt.args...), &env{
				out: &stderr, err: &stderr,
				getenv: func(name string) string {
					if name == "HALFCLOSE_STATE_DIR" {
						return dir
					}
					return tt.env[name]
				},
				syslog: func(message string, args ...any) { syslog = append(syslog, message+" "+fmt.Sprint(args...)) },
			})
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
