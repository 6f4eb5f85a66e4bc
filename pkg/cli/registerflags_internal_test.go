// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestEveryMistakeInAPolicyFlagNamesTheFlag(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"--mode", "destro"}, []string{`--mode: unknown mode "destro", did you mean "destroy"?`}},
		{[]string{"--mode", ""}, []string{"--mode: "}},
		{[]string{"--grace", "10"}, []string{`--grace: "10" has no unit: write "10s"`}},
		{[]string{"--grace", "nevr"}, []string{`--grace: "nevr" is not a grace, did you mean "never"?`}},
		{[]string{"--close-wait-grace", "2d"}, []string{`--close-wait-grace: "2d": Go durations have no days: write "48h"`}},
		{[]string{"--fin-wait2-grace", "-1s"}, []string{"--fin-wait2-grace: "}},
		{[]string{"--clock", "progres"}, []string{`--clock: unknown clock "progres", did you mean "progress"?`}},
		{[]string{"--pending-data", "keeep"}, []string{`--pending-data: unknown pendingData "keeep", did you mean "keep"?`}},
		{[]string{"--exempt", "22"}, []string{"--exempt: want a list"}},
		{[]string{"--exempt", `[{"localPort": "22"}]`}, []string{`--exempt, at $[0].localPort: unknown key, did you mean "localPorts"?`}},
		{[]string{"--exempt", `[{"localPorts": "99999"}]`}, []string{"--exempt, at $[0].localPorts: "}},
		{[]string{"--exempt", `{"mode": "observe"`}, []string{`--exempt: not JSON: '[{"localPorts": "22"}`}},
		{[]string{"--exempt", ""}, []string{"--exempt: not JSON"}},
		{[]string{"--mode", "kill", "--grace", "soon"}, []string{"--mode: ", "--grace: "}},
		{[]string{"--graze", "2m"}, []string{"--graze"}},
	} {
		code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": t.TempDir()}, append([]string{"register", "x"}, tt.args...)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", tt.args, code, stdout, stderr)
		}
		for _, says := range tt.says {
			if !strings.Contains(stderr, says) {
				t.Errorf("%q: %q does not say %q", tt.args, stderr, says)
			}
		}
	}
}

func TestAPolicyFromFlagsIsThePluginsWithOtherSources(t *testing.T) {
	cmd := registerCommand(&env{})
	if err := cmd.ParseFlags([]string{
		"--mode", "observe", "--grace", "2m", "--fin-wait2-grace", "never", "--exempt", `[{"localPorts": "22,80-90"}, {"loopback": true}]`,
	}); err != nil {
		t.Fatal(err)
	}
	p, sources, err := policyFrom(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	network, problems := policy.ParseNetwork([]byte(
		`{"mode": "observe", "grace": "2m", "finWait2Grace": "never", "exempt": [{"localPorts": "22,80-90"}, {"loopback": true}]}`))
	if diff := cmp.Diff(network.Policy, p); diff != "" || len(problems) > 0 {
		t.Errorf("%v (-want +got)\n%s", problems, diff)
	}
	want := policy.Sources{
		"mode": "--mode", "closeWaitGrace": "--grace", "finWait2Grace": "--fin-wait2-grace", "exempt": "--exempt",
		"clock": "built-in", "pendingData": "built-in",
	}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("sources (-want +got)\n%s", diff)
	}
}
