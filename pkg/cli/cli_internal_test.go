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
		says string // in the one line on stderr
	}{
		{name: "a command that can be carried out is success", args: []string{"version"}, code: 0},
		{name: "no command at all shows the help", code: 0},
		{name: "no reaper is a failure, with what to do", args: []string{"status"}, code: 1, says: `start one with "halfclose reaper"`},
		{name: "the same of sockets", args: []string{"sockets"}, code: 1, says: "no reaper is running"},
		{name: "and of the history", args: []string{"history"}, code: 1, says: "no reaper is running"},
		{name: "and of following it", args: []string{"history", "-f"}, code: 1, says: "no reaper is running"},
		{name: "but not of the mode, which has a switch", args: []string{"mode"}, code: 0},
		{name: "a command that does not exist is a mistake", args: []string{"raeper"}, code: 2, says: `unknown command "raeper"`},
		{name: "help about one that does not exist is a mistake", args: []string{"help", "raeper"}, code: 2, says: `unknown command "raeper"`},
		{name: "help about one that does is none", args: []string{"help", "sockets"}, code: 0},
		{name: "a flag that does not exist is a mistake", args: []string{"status", "--al"}, code: 2, says: `--al (see "halfclose status --help")`},
		{name: "a mode that does not exist is a mistake", args: []string{"mode", "kill"}, code: 2, says: `"kill"`},
		{name: "so is one that only a policy can have", args: []string{"mode", "off"}, code: 2, says: `"off"`},
		{name: "two modes are a mistake", args: []string{"mode", "destroy", "observe"}, code: 2, says: `set to destroy or to observe, not to "destroy observe" (see "halfclose mode --help")`},
		{name: "a shell that does not exist is a mistake", args: []string{"completion", "powershell"}, code: 2, says: `"powershell"`},
		{name: "no shell is a mistake", args: []string{"completion"}, code: 2, says: "the shell is bash, zsh or fish"},
		{name: "a state that does not exist is a mistake", args: []string{"sockets", "--state", "OPEN"}, code: 2, says: "want CLOSE_WAIT, FIN_WAIT2"},
		{name: "a state that is not followed is a mistake", args: []string{"sockets", "--state", "listen"}, code: 2, says: "with --all"},
		{name: "a verdict that does not exist is a mistake", args: []string{"sockets", "--verdict", "dead"}, code: 2, says: "want one of unknown, destroy, would-destroy"},
		{name: "a time that is none is a mistake", args: []string{"history", "--since", "yesterday"}, code: 2, says: "--since is a duration such as 10m"},
		{name: "an outcome that does not exist is a mistake", args: []string{"history", "--outcome", "killed"}, code: 2, says: `not "killed"`},
		{name: "an argument too many is a mistake", args: []string{"version", "please"}, code: 2, says: `"please"`},
		{name: "an output that does not exist is a mistake", args: []string{"version", "--output", "xml"}, code: 2, says: `--output is table, wide or json, not "xml"`},
		{name: "a flag that does not parse is a mistake", args: []string{"reaper", "--min-grace", "1"}, code: 2, says: "--min-grace"},
		{name: "a value that cannot be is a mistake", args: []string{"reaper", "--min-grace", "-1s"}, code: 2, says: "--min-grace is a duration from 0s on, not -1s"},
		{name: "no budget at all is a mistake", args: []string{"reaper", "--cpu-budget", "0"}, code: 2, says: "above 0% and up to 100%"},
		{name: "fewer destroys than none is a mistake", args: []string{"reaper", "--max-destroys-per-second", "-1"}, code: 2, says: "--max-destroys-per-second"},
		{name: "an address without a port is a mistake", args: []string{"reaper", "--metrics-address", "127.0.0.1"}, code: 2, says: `--metrics-address is HOST:PORT, such as 127.0.0.1:20470, [::1]:20470 or :20470, not "127.0.0.1"`},
		{name: "so is an address with a name for a port", args: []string{"reaper", "--metrics-address", ":http"}, code: 2, says: `not ":http"`},
		{name: "so is one with a port that cannot be", args: []string{"reaper", "--metrics-address", ":65536"}, code: 2, says: `not ":65536"`},
		{name: "so is an IPv6 address without brackets", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_METRICS_ADDRESS": "::1:20470"}, code: 2, says: `not "::1:20470"`},
		{name: "a level that does not exist is a mistake", args: []string{"reaper", "--log-level", "loud"}, code: 2, says: "loud"},
		{name: "a wrong value in the environment is a mistake too", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_MODE": "kill"}, code: 2, says: `HALFCLOSE_MODE="kill"`},
		{name: "so is one that cannot be", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_FINDER": "none"}, code: 2, says: `--finder is auto, sockdiag or bpf, not "none"`},
		{name: "a state directory whose path is too long is a mistake", args: []string{"reaper", "--state-dir", long}, code: 2, says: "has 96 bytes, and 95 are the most"},
		{name: "to those who ask the reaper too", args: []string{"status"}, env: map[string]string{"HALFCLOSE_STATE_DIR": long}, code: 2, says: "has 96 bytes"},
		{name: "to all of them", args: []string{"sockets", "--state-dir", long}, code: 2, says: "has 96 bytes"},
		{name: "to the history", args: []string{"history", "--state-dir", long}, code: 2, says: "has 96 bytes"},
		{name: "to the mode", args: []string{"mode", "--state-dir", long}, code: 2, says: "has 96 bytes"},
		{name: "one that is no directory is a mistake", args: []string{"status", "--state-dir", file}, code: 2, says: "file is none"},
		{name: "to all", args: []string{"mode", "observe", "--state-dir", file}, code: 2, says: "file is none"},
		{name: "one that is not there has no reaper", args: []string{"history", "--state-dir", "/nowhere"}, code: 1, says: "nothing listens on /nowhere/reaper.sock"},
		{name: "but not to who asks none", args: []string{"version", "--state-dir", long}, code: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"HALFCLOSE_STATE_DIR": dir}
			maps.Copy(env, tt.env)
			code, stdout, stderr := call(t, env, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", code, tt.code, stderr, tt.says)
			}
			if code != 0 && (stdout != "" || !strings.HasPrefix(stderr, "halfclose: ") || strings.Count(stderr, "\n") != 1) {
				t.Errorf("stdout %q, stderr not one line:\n%s", stdout, stderr)
			}
		})
	}
}

func TestWhoMayNotIsToldToBeRoot(t *testing.T) {
	denied := fmt.Errorf("open the reaper's lock: %w", &fs.PathError{Op: "open", Path: "/run/halfclose/reaper.lock", Err: unix.EACCES})
	for _, tt := range []struct {
		name string
		err  error
		uid  int
		want string
	}{
		{"a user who may not", denied, 1000, " (run this as root)"},
		{"one who may not enter a namespace", fmt.Errorf("enter network namespace: %w", unix.EPERM), 1000, " (run this as root)"},
		{"a user, of something else", errors.New("no reaper is running"), 1000, ""},
		{"root is it already", denied, 0, ""},
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

func TestTheSwitchIsBesideTheStateWhereThatIsNotInItsUsualPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want string
	}{
		{"nothing is set", nil, "", "/var/lib/halfclose/mode"},
		{"by the environment", nil, "/a", "/a/mode"},
		{"by the flag", []string{"--state-dir", "/b"}, "", "/b/mode"},
		{"by the flag before the environment", []string{"--state-dir", "/b"}, "/a", "/b/mode"},
		{"the usual place by the environment", nil, "/run/halfclose", "/var/lib/halfclose/mode"},
		{"the usual place by the flag", []string{"--state-dir", "/run/halfclose"}, "/a", "/var/lib/halfclose/mode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: func(name string) string {
				return map[string]string{"HALFCLOSE_STATE_DIR": tt.env}[name]
			}}
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
