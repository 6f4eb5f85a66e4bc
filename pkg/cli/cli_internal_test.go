// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	long := "/" + strings.Repeat("x", 95)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		code int
		want string // in the one line on stderr
	}{
		{name: "a successful command", args: []string{"version"}, code: 0},
		{name: "no command prints the help", code: 0},
		{name: "no reaper, with advice", args: []string{"status"}, code: 1, want: `start one with "halfclose reaper --state-dir `},
		{name: "sockets without a reaper", args: []string{"sockets"}, code: 1, want: "no reaper is running"},
		{name: "history without a reaper", args: []string{"history"}, code: 1, want: "no reaper is running"},
		{name: "history --follow without a reaper", args: []string{"history", "-f"}, code: 1, want: "no reaper is running"},
		{name: "mode without a reaper shows the switch", args: []string{"mode"}, code: 0},
		{name: "an unknown command, with a suggestion", args: []string{"raeper"}, code: 2, want: `unknown command "raeper" for "halfclose" Did you mean this? reaper`},
		{name: "help about an unknown command", args: []string{"help", "raeper"}, code: 2, want: `unknown command "raeper"`},
		{name: "help about a command", args: []string{"help", "sockets"}, code: 0},
		{name: "an unknown flag", args: []string{"status", "--al"}, code: 2, want: `--al (see "halfclose status --help")`},
		{name: "an unknown mode", args: []string{"mode", "kill"}, code: 2, want: `"kill"`},
		{name: "a mode for policies only", args: []string{"mode", "off"}, code: 2, want: `"off"`},
		{name: "two modes", args: []string{"mode", "destroy", "observe"}, code: 2, want: `want destroy or observe, not "destroy observe" (see "halfclose mode --help")`},
		{name: "an unknown shell", args: []string{"completion", "tcsh"}, code: 2, want: `"tcsh"`},
		{name: "no shell", args: []string{"completion"}, code: 2, want: "want a shell: bash, zsh, fish or powershell"},
		{name: "an unknown state", args: []string{"sockets", "--state", "OPEN"}, code: 2, want: "want CLOSE_WAIT, FIN_WAIT2"},
		{name: "an untracked state", args: []string{"sockets", "--state", "listen"}, code: 2, want: "use --all for other states"},
		{name: "an unknown verdict", args: []string{"sockets", "--verdict", "dead"}, code: 2, want: "want one of unknown, destroy, would-destroy"},
		{name: "an invalid time", args: []string{"history", "--since", "soon"}, code: 2, want: "--since: want a time such as 30m, 2d, 23:00, yesterday"},
		{name: "a time in the future", args: []string{"history", "--since", "2999-01-01"}, code: 2, want: "--since 2999-01-01 is in the future"},
		{name: "an end before the beginning", args: []string{"history", "--since", "1h", "--until", "2h"}, code: 2, want: "--until 2h is before --since 1h"},
		{name: "no entries", args: []string{"history", "--tail", "0"}, code: 2, want: "--tail: want a number from 1 to 10000, not 0"},
		{name: "no address", args: []string{"history", "web"}, code: 2, want: `"web" is not an address such as 10.0.0.7`},
		{name: "a summary of the future", args: []string{"history", "--summary", "--follow"}, code: 2, want: "--summary counts past entries"},
		{name: "an unknown outcome", args: []string{"history", "--outcome", "killed"}, code: 2, want: `not "killed"`},
		{name: "an extra argument", args: []string{"version", "please"}, code: 2, want: `"please"`},
		{name: "an unknown output format", args: []string{"version", "--output", "xml"}, code: 2, want: `--output is table, wide, json or yaml, not "xml"`},
		{name: "a flag that does not parse", args: []string{"reaper", "--min-grace", "1"}, code: 2, want: "--min-grace"},
		{name: "a negative duration", args: []string{"reaper", "--min-grace", "-1s"}, code: 2, want: "--min-grace must be 0s or longer, not -1s"},
		{name: "a budget of 0", args: []string{"reaper", "--cpu-budget", "0"}, code: 2, want: "above 0% and up to 100%"},
		{name: "a negative rate", args: []string{"reaper", "--max-destroys-per-second", "-1"}, code: 2, want: "--max-destroys-per-second"},
		{name: "an address without a port", args: []string{"reaper", "--metrics-address", "127.0.0.1"}, code: 2, want: `--metrics-address must be HOST:PORT, such as 127.0.0.1:20470, [::1]:20470 or :20470, not "127.0.0.1"`},
		{name: "an address with a port name", args: []string{"reaper", "--metrics-address", ":http"}, code: 2, want: `not ":http"`},
		{name: "an address with an invalid port", args: []string{"reaper", "--metrics-address", ":65536"}, code: 2, want: `not ":65536"`},
		{name: "an IPv6 address without brackets", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_METRICS_ADDRESS": "::1:20470"}, code: 2, want: `not "::1:20470"`},
		{name: "an unknown log level", args: []string{"reaper", "--log-level", "loud"}, code: 2, want: `"loud" for "--log-level" flag: want debug, info, warn or error`},
		{name: "an invalid value in the environment", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_MODE": "kill"}, code: 2, want: `HALFCLOSE_MODE="kill"`},
		{name: "an unknown finder in the environment", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_FINDER": "none"}, code: 2, want: `--finder must be auto, sockdiag or bpf, not "none"`},
		{name: "reaper with a state directory whose path is too long", args: []string{"reaper", "--state-dir", long}, code: 2, want: "has 96 bytes, and the name of the reaper's socket leaves room for 95"},
		{name: "status with a state directory whose path is too long", args: []string{"status"}, env: map[string]string{"HALFCLOSE_STATE_DIR": long}, code: 2, want: "has 96 bytes"},
		{name: "sockets with a state directory whose path is too long", args: []string{"sockets", "--state-dir", long}, code: 2, want: "has 96 bytes"},
		{name: "history with a state directory whose path is too long", args: []string{"history", "--state-dir", long}, code: 2, want: "has 96 bytes"},
		{name: "mode with a state directory whose path is too long", args: []string{"mode", "--state-dir", long}, code: 2, want: "has 96 bytes"},
		{name: "status with a file as state directory", args: []string{"status", "--state-dir", file}, code: 2, want: "file is not a directory"},
		{name: "mode with a file as state directory", args: []string{"mode", "observe", "--state-dir", file}, code: 2, want: "file is not a directory"},
		{name: "a missing state directory has no reaper", args: []string{"history", "--state-dir", "/nowhere"}, code: 1, want: "nothing listens on /nowhere/reaper.sock"},
		{name: "version ignores the state directory", args: []string{"version", "--state-dir", long}, code: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"HALFCLOSE_STATE_DIR": dir}
			maps.Copy(env, tt.env)
			code, stdout, stderr := call(t, env, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", code, tt.code, stderr, tt.want)
			}
			if code != 0 && (stdout != "" || !strings.HasPrefix(stderr, "halfclose: ") || strings.Count(stderr, "\n") != 1) {
				t.Errorf("stdout %q, stderr not one line:\n%s", stdout, stderr)
			}
		})
	}
}

func TestPermissionErrorsOfOtherUsersAdviseRoot(t *testing.T) {
	denied := fmt.Errorf("open reaper lock: %w", &fs.PathError{Op: "open", Path: "/run/halfclose/reaper.lock", Err: unix.EACCES})
	for _, tt := range []struct {
		name string
		err  error
		uid  int
		want string
	}{
		{"a user without permission", denied, 1000, " (run this as root)"},
		{"a user who may not enter a namespace", fmt.Errorf("enter network namespace: %w", unix.EPERM), 1000, " (run this as root)"},
		{"another error of a user", errors.New("no reaper is running"), 1000, ""},
		{"root", denied, 0, ""},
	} {
		if got := asRoot(tt.err, tt.uid); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestVersionAsJSON(t *testing.T) {
	_, stdout, _ := call(t, nil, "version", "-o", "json")
	var got buildinfo.Info
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if want := buildinfo.Get(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheSwitchIsInTheStateDirectoryUnlessThatIsTheDefault(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"default", nil, "", "/var/lib/halfclose/mode"},
		{"environment", nil, "/a", "/a/mode"},
		{"flag", []string{"--state-dir", "/b"}, "", "/b/mode"},
		{"flag and environment", []string{"--state-dir", "/b"}, "/a", "/b/mode"},
		{"default in the environment", nil, "/run/halfclose", "/var/lib/halfclose/mode"},
		{"default in the flag", []string{"--state-dir", "/run/halfclose"}, "/a", "/var/lib/halfclose/mode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{err: &bytes.Buffer{}, Printer: printer.Printer{Out: &bytes.Buffer{}, Getenv: func(name string) string {
				return map[string]string{"HALFCLOSE_STATE_DIR": tt.env}[name]
			}}}
			cmd := rootCommand(e)
			if err := cmd.ParseFlags(tt.args); err != nil {
				t.Fatal(err)
			}
			if got := e.switchPath(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			want := filepath.Dir(tt.want)
			if want == "/var/lib/halfclose" {
				want = state.DefaultDir
			}
			if tt.env+strings.Join(tt.args, "") != "" && e.stateDir != want {
				t.Errorf("the state directory is %s, want %s", e.stateDir, want)
			}
		})
	}
}
