// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

func TestConfigShowsTheFlagsInForce(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	runReaper(t, dir, "--min-grace", "7s", "--mode", "observe")
	code, stdout, stderr := call(t, nil, "config", "--state-dir", dir)
	text := strings.Join(strings.Fields(stdout), " ")
	for _, want := range []string{"FLAG VALUE FROM --", "--allow-host-netns false default", "--min-grace 7s flag", "--mode observe flag", "--log-level info default", "--state-dir " + dir + " flag", "--metrics-address - default"} {
		if code != cmdline.Success || stderr != "" || !strings.Contains(text, want) {
			t.Errorf("exit code %d, stderr %q, want %q:\n%s", code, stderr, want, stdout)
		}
	}
	code, stdout, _ = call(t, nil, "config", "-o", "json", "--state-dir", dir)
	var cfg api.Config
	if err := json.Unmarshal([]byte(stdout), &cfg); err != nil || code != cmdline.Success || len(cfg.Flags) < 10 {
		t.Errorf("exit code %d, %v:\n%s", code, err, stdout)
	}
}

func TestTheLogLevelChangesWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	runReaper(t, dir)
	for _, step := range []struct{ args, want string }{
		{"", "Log level  info\n"},
		{"debug --for 10m", "Log level  debug, set by alice (sudo) until 20"},
		{"", ", then info\n"},
		{"warn", "Log level  warn, set by alice (sudo) until the reaper exits, then info\n"},
		{"info", "Log level  info\n"},
	} {
		args := append([]string{"log-level", "--state-dir", dir}, strings.Fields(step.args)...)
		code, stdout, stderr := call(t, map[string]string{"SUDO_USER": "alice"}, args...)
		if code != cmdline.Success || stderr != "" || !strings.Contains(stdout, step.want) {
			t.Errorf("log-level %s: exit code %d, stderr %q, stdout %q, want %q", step.args, code, stderr, stdout, step.want)
		}
	}
	for args, want := range map[string]string{"verbose": `want debug, info, warn or error, not "verbose"`, "--for 10m": "--for needs a level", "debug --for 10": "such as 30m"} {
		code, _, stderr := call(t, nil, append([]string{"log-level", "--state-dir", dir}, strings.Fields(args)...)...)
		if code != cmdline.Usage || !strings.Contains(stderr, want) {
			t.Errorf("log-level %s: exit code %d, stderr %q", args, code, stderr)
		}
	}
}
