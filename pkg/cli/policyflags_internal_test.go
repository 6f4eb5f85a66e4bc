// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestProblemsOfAPolicyNameTheFlag(t *testing.T) {
	tooMany := "[" + strings.Repeat(`{"loopback": true}, `, 63) + `{"loopback": true}]`
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"--mode", "destro"}, []string{`--mode: unknown mode "destro", did you mean "destroy"?`}},
		{[]string{"--mode", ""}, []string{"--mode: "}},
		{[]string{"--grace", "10"}, []string{`--grace: "10" has no unit: write "10s"`}},
		{[]string{"--grace", "nevr"}, []string{`--grace: "nevr" is not a duration, did you mean "never"?`}},
		{[]string{"--close-wait-grace", "2d"}, []string{`--close-wait-grace: "2d": Go durations have no days: write "48h"`}},
		{[]string{"--fin-wait2-grace", "-1s"}, []string{"--fin-wait2-grace: "}},
		{[]string{"--clock", "progres"}, []string{`--clock: unknown clock "progres", did you mean "progress"?`}},
		{[]string{"--pending-data", "keep"}, []string{"--pending-data"}}, // a flag of older versions
		{[]string{"--probe-after", "1.5d"}, []string{"--probe-after: "}},
		{[]string{"--probe-after", "90"}, []string{`--probe-after: "90" has no unit: write "90s"`}},
		{[]string{"--pending-grace", "0s"}, []string{"--pending-grace: "}},
		{[]string{"--probe-count", "0"}, []string{"--probe-count: "}},
		{[]string{"--probe-count", "six"}, []string{"--probe-count: want a number of probes such as 6"}},
		{[]string{"--probe-interval", "1500ms"}, []string{"--probe-interval: 1.5s is not a whole number of seconds"}},
		{[]string{"--rules", `[{"grace": "1m"}]`}, []string{`--rules, at $[0]: "match" is missing`}},
		{[]string{"--rules", `[{"match": {"rolle": "client"}, "grace": "1m"}]`}, []string{`--rules, at $[0].match.rolle: unknown key, did you mean "role"?`}},
		{[]string{"--rules", `[{"match": {"role": "client"}, "graec": "1m"}]`}, []string{`--rules, at $[0].graec: unknown key, did you mean "grace"?`}},
		{[]string{"--rules", "client"}, []string{`--rules: not JSON: '[{"match": {"role": "client"}`}},
		{[]string{"--exempt", tooMany, "--rules", `[{"match": {"role": "client"}, "grace": "1m"}]`}, []string{"policy flags: 65 rules and exemptions"}},
		{[]string{"--exempt", "22"}, []string{"--exempt: want a list"}},
		{[]string{"--exempt", `[{"localPort": "22"}]`}, []string{`--exempt, at $[0].localPort: unknown key, did you mean "localPorts"?`}},
		{[]string{"--exempt", `[{"localPorts": "99999"}]`}, []string{"--exempt, at $[0].localPorts: "}},
		{[]string{"--exempt", `{"mode": "observe"`}, []string{`--exempt: not JSON: '[{"localPorts": "22"}`}},
		{[]string{"--exempt", ""}, []string{"--exempt: not JSON"}},
		{[]string{"--mode", "kill", "--grace", "patience"}, []string{"--mode: ", "--grace: "}},
		{
			[]string{"--exempt", "x", "--rules", "y", "--mode", "Off", "--grace", "1d"},
			[]string{"--exempt: not JSON", "--rules: not JSON", "--mode: unknown mode", `--grace: "1d"`},
		},
		{[]string{"--graze", "2m"}, []string{"--graze"}},
	} {
		code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": t.TempDir()}, append([]string{"register", "x"}, tt.args...)...)
		if code != cmdline.Usage || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", tt.args, code, stdout, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q: %q lacks %q", tt.args, stderr, want)
			}
		}
	}
}

func TestFlagsAndEntryResultInTheSamePolicy(t *testing.T) {
	cmd := registerCommand(&env{})
	if err := cmd.ParseFlags([]string{
		"--mode", "observe", "--grace", "2m", "--fin-wait2-grace", "never", "--probe-after", "never", "--probe-count", "3", "--probe-interval", "5s",
		"--pending-grace", "3h", "--clock", "state", "--rules", `[{"match": {"role": "client"}, "grace": "1m"}]`, "--exempt", `[{"localPorts": "22,80-90"}, {"loopback": true}]`,
	}); err != nil {
		t.Fatal(err)
	}
	layer, err := layerFrom(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	network, problems := policy.ParseNetwork([]byte(`{"mode": "observe", "grace": "2m", "finWait2Grace": "never",
		"probeAfter": "never", "probeCount": 3, "probeInterval": "5s", "pendingGrace": "3h", "clock": "state",
		"exempt": [{"localPorts": "22,80-90"}, {"loopback": true}], "rules": [{"match": {"role": "client"}, "grace": "1m"}]}`))
	network.Layer.Source = state.SourceRegister
	if diff := cmp.Diff(network.Layer, layer, cmp.AllowUnexported(policy.Layer{})); diff != "" || len(problems) > 0 {
		t.Errorf("%v (-want +got)\n%s", problems, diff)
	}
	for key, want := range map[string]string{
		"mode": "mode", "closeWaitGrace": "grace", "finWait2Grace": "fin-wait2-grace", "probeCount": "probe-count", "rules": "rules", "exempt": "exempt",
	} {
		if got := flagOf(key, cmd.Flags()); got != want {
			t.Errorf("%s comes from --%s, want --%s", key, got, want)
		}
	}
}

func TestEveryKeyOfThePolicyHasAFlag(t *testing.T) {
	var keys []string
	for _, f := range policyFlags() {
		keys = append(keys, f.key)
	}
	for key := range policy.Default().Sources {
		if !slices.Contains(keys, key) {
			t.Errorf("no flag for %s", key)
		}
	}
}
