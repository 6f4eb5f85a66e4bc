// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/buildinfo"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	long := "/" + strings.Repeat("x", 95)
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
		{name: "a command that does not exist is a mistake", args: []string{"raeper"}, code: 2, says: `unknown command "raeper"`},
		{name: "a flag that does not exist is a mistake", args: []string{"status", "--all"}, code: 2, says: "--all"},
		{name: "an argument too many is a mistake", args: []string{"version", "please"}, code: 2, says: `"please"`},
		{name: "an output that does not exist is a mistake", args: []string{"version", "--output", "xml"}, code: 2, says: `--output is table or json, not "xml"`},
		{name: "a flag that does not parse is a mistake", args: []string{"reaper", "--min-grace", "1"}, code: 2, says: "--min-grace"},
		{name: "a value that cannot be is a mistake", args: []string{"reaper", "--min-grace", "-1s"}, code: 2, says: "--min-grace is a duration from 0s on, not -1s"},
		{name: "no budget at all is a mistake", args: []string{"reaper", "--cpu-budget", "0"}, code: 2, says: "above 0% and up to 100%"},
		{name: "fewer destroys than none is a mistake", args: []string{"reaper", "--max-destroys-per-second", "-1"}, code: 2, says: "--max-destroys-per-second"},
		{name: "a level that does not exist is a mistake", args: []string{"reaper", "--log-level", "loud"}, code: 2, says: "loud"},
		{name: "a wrong value in the environment is a mistake too", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_MODE": "kill"}, code: 2, says: `HALFCLOSE_MODE="kill"`},
		{name: "so is one that cannot be", args: []string{"reaper"}, env: map[string]string{"HALFCLOSE_FINDER": "none"}, code: 2, says: `--finder is auto or sockdiag, not "none"`},
		{name: "a state directory whose path is too long is a mistake", args: []string{"reaper", "--state-dir", long}, code: 2, says: "has 96 bytes, and 95 are the most"},
		{name: "to those who ask the reaper too", args: []string{"status"}, env: map[string]string{"HALFCLOSE_STATE_DIR": long}, code: 2, says: "has 96 bytes"},
		{name: "to all of them", args: []string{"sockets", "--state-dir", long}, code: 2, says: "has 96 bytes"},
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: func(name string) string {
				return map[string]string{"HALFCLOSE_STATE_DIR": tt.env}[name]
			}}
			cmd := rootCommand(e)
			if err := cmd.ParseFlags(tt.args); err != nil {
				t.Fatal(err)
			}
			if got := e.switchPath(cmd); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if want := filepath.Dir(tt.want); tt.env+strings.Join(tt.args, "") != "" && e.stateDir != want {
				t.Errorf("the state directory is %s, want %s", e.stateDir, want)
			}
		})
	}
}
