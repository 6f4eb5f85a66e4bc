// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
)

func TestTopNeedsATerminalWithoutOnce(t *testing.T) {
	code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": t.TempDir()}, "top")
	if code != cmdline.Usage || stdout != "" || stderr != "halfclose: stdout is not a terminal: use --once to print one frame\n" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--interval", "100ms"}, cmdline.Usage, "--interval is at least 250ms, not 100ms"},
		{[]string{"--sort", "size"}, cmdline.Usage, `--sort is one of count, age, destroyed, name, not "size"`},
		{[]string{"--once"}, cmdline.Failure, "no reaper is running"},
		{[]string{"web"}, cmdline.Usage, `"web"`},
	} {
		code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": t.TempDir()}, append([]string{"top"}, tt.args...)...)
		if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d: %s%s", tt.args, code, stdout, stderr)
		}
	}
}
