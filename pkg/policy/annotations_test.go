// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

func network(t testing.TB, conf string) policy.Network {
	t.Helper()
	n, problems := policy.ParseNetwork([]byte(conf))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return n
}

// pod makes annotations of names without their prefix and values.
func pod(namesAndValues ...string) map[string]string {
	all := map[string]string{"app": "web", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
	for i := 0; i < len(namesAndValues); i += 2 {
		all[policy.AnnotationPrefix+namesAndValues[i]] = namesAndValues[i+1]
	}
	return all
}

// careless is the least careful network there is, but for what podOverrides says.
const careless = `{"mode": "destroy", "grace": "1m", "clock": "state", "pendingData": "destroy", "exempt": [{"localPorts": "22"}], "podOverrides": %q}`

// cautious is the other end.
const cautious = `{"mode": "observe", "grace": "1h", "clock": "progress", "pendingData": "keep", "exempt": [{"localPorts": "22"}], "podOverrides": %q}`

var ssh = policy.Exemption{LocalPorts: policy.Ports{{22, 22}}}

func TestAnnotations(t *testing.T) {
	type values struct {
		mode                policy.Mode
		closeWait, finWait2 policy.Grace
		clock               policy.Clock
		pending             policy.PendingData
		exempt              []policy.Exemption
	}
	below := values{policy.Destroy, minute, minute, policy.ClockState, policy.PendingDestroy, []policy.Exemption{ssh}}
	above := values{policy.Observe, 60 * minute, 60 * minute, policy.ClockProgress, policy.PendingKeep, []policy.Exemption{ssh}}
	with := func(v values, change func(*values)) values { change(&v); return v }
	everyCareful := pod("mode", "off", "grace", "2m", "fin-wait2-grace", "never", "clock", "progress", "pending-data", "keep",
		"exempt", `[{"loopback": true}]`)

	for name, tt := range map[string]struct {
		conf        string
		overrides   string
		annotations map[string]string
		want        values
		sources     policy.Sources // that are not "network"
		warnings    []string
	}{
		"none at all change nothing": {
			careless, "any", nil, below, nil, nil,
		},
		"those of others change nothing": {
			careless, "any", pod(), below, nil, nil,
		},
		"any takes every more careful value": {
			careless, "any", everyCareful,
			values{policy.Off, 2 * minute, policy.Never, policy.ClockProgress, policy.PendingKeep, []policy.Exemption{{Loopback: true}}},
			policy.Sources{
				"mode": "annotation halfclose.cni/mode", "closeWaitGrace": "annotation halfclose.cni/grace",
				"finWait2Grace": "annotation halfclose.cni/fin-wait2-grace", "clock": "annotation halfclose.cni/clock",
				"pendingData": "annotation halfclose.cni/pending-data", "exempt": "annotation halfclose.cni/exempt",
			},
			nil,
		},
		"relax takes them too, and adds the exemptions": {
			careless, "relax", everyCareful,
			values{policy.Off, 2 * minute, policy.Never, policy.ClockProgress, policy.PendingKeep, []policy.Exemption{ssh, {Loopback: true}}},
			policy.Sources{
				"mode": "annotation halfclose.cni/mode", "closeWaitGrace": "annotation halfclose.cni/grace",
				"finWait2Grace": "annotation halfclose.cni/fin-wait2-grace", "clock": "annotation halfclose.cni/clock",
				"pendingData": "annotation halfclose.cni/pending-data", "exempt": "network and annotation halfclose.cni/exempt",
			},
			nil,
		},
		"none takes nothing, with one warning": {
			careless, "none", everyCareful, below, nil,
			[]string{`the pod's annotations halfclose.cni/* are ignored: the network's podOverrides is "none" (6 of them, the first "halfclose.cni/clock")`},
		},
		"none has no warning for those of others": {
			careless, "none", pod(), below, nil, nil,
		},
		"any takes every less careful value": {
			cautious, "any",
			pod("mode", "destroy", "close-wait-grace", "1m", "fin-wait2-grace", "1m", "clock", "state", "pending-data", "destroy", "exempt", "[]"),
			with(below, func(v *values) { v.exempt = nil }),
			policy.Sources{
				"mode": "annotation halfclose.cni/mode", "closeWaitGrace": "annotation halfclose.cni/close-wait-grace",
				"finWait2Grace": "annotation halfclose.cni/fin-wait2-grace", "clock": "annotation halfclose.cni/clock",
				"pendingData": "annotation halfclose.cni/pending-data", "exempt": "annotation halfclose.cni/exempt",
			},
			nil,
		},
		"relax takes none of them, and says so for each": {
			cautious, "relax",
			pod("mode", "destroy", "close-wait-grace", "1m", "grace", "2m", "clock", "state", "pending-data", "destroy", "exempt", "[]"),
			above, nil,
			[]string{
				`annotation halfclose.cni/mode "destroy" is ignored: it is less careful than the network's mode "observe", and podOverrides is "relax"`,
				`annotation halfclose.cni/close-wait-grace "1m" is ignored: it is less careful than the network's closeWaitGrace "1h", and podOverrides is "relax"`,
				`annotation halfclose.cni/grace "2m" is ignored: it is less careful than the network's finWait2Grace "1h", and podOverrides is "relax"`,
				`annotation halfclose.cni/clock "state" is ignored: it is less careful than the network's clock "progress", and podOverrides is "relax"`,
				`annotation halfclose.cni/pending-data "destroy" is ignored: it is less careful than the network's pendingData "keep", and podOverrides is "relax"`,
			},
		},
		"relax judges each state by itself": {
			`{"mode": "destroy", "closeWaitGrace": "1m", "finWait2Grace": "1h", "clock": "state", "pendingData": "destroy",
			  "exempt": [{"localPorts": "22"}], "podOverrides": %q}`, "relax", pod("grace", "5m"),
			with(below, func(v *values) { v.closeWait, v.finWait2 = 5*minute, 60*minute }),
			policy.Sources{"closeWaitGrace": "annotation halfclose.cni/grace"},
			[]string{`annotation halfclose.cni/grace "5m" is ignored: it is less careful than the network's finWait2Grace "1h", and podOverrides is "relax"`},
		},
		"relax takes a value that is the same": {
			careless, "relax", pod("mode", "destroy", "grace", "60s", "exempt", `[{"localPorts": "22"}]`), below,
			policy.Sources{
				"mode": "annotation halfclose.cni/mode", "closeWaitGrace": "annotation halfclose.cni/grace",
				"finWait2Grace": "annotation halfclose.cni/grace", "exempt": "network and annotation halfclose.cni/exempt",
			},
			nil,
		},
		"grace goes before the network's of a state": {
			`{"mode": "destroy", "closeWaitGrace": "1m", "finWait2Grace": "1h", "clock": "state", "pendingData": "destroy",
			  "exempt": [{"localPorts": "22"}], "podOverrides": %q}`, "any", pod("grace", "5m"),
			with(below, func(v *values) { v.closeWait, v.finWait2 = 5*minute, 5*minute }),
			policy.Sources{"closeWaitGrace": "annotation halfclose.cni/grace", "finWait2Grace": "annotation halfclose.cni/grace"},
			nil,
		},
		"one that is no good leaves the network's value": {
			careless, "any",
			pod("mode", "destory", "grace", "600", "clock", "Progress", "pending-data", "", "exempt", `[{"loopback": true}, {"port": "1"}]`), below, nil,
			[]string{
				`annotation halfclose.cni/clock is ignored: unknown clock "Progress", did you mean "progress"?`,
				`annotation halfclose.cni/exempt is ignored: $[1].port: unknown key: there are localPorts, peerPorts, peers, loopback`,
				`annotation halfclose.cni/grace is ignored: "600" has no unit: write "600s"`,
				`annotation halfclose.cni/mode is ignored: unknown mode "destory", did you mean "destroy"?`,
				`annotation halfclose.cni/pending-data is ignored: unknown pendingData "": want "keep" or "destroy"`,
			},
		},
		"a state's that is no good does not fall back to grace": {
			cautious, "any", pod("grace", "1m", "close-wait-grace", "nevr"),
			with(above, func(v *values) { v.finWait2 = minute }),
			policy.Sources{"finWait2Grace": "annotation halfclose.cni/grace"},
			[]string{`annotation halfclose.cni/close-wait-grace is ignored: "nevr" is not a grace, did you mean "never"?`},
		},
		"exempt that is not JSON": {
			careless, "any", pod("exempt", `22,80`), below, nil,
			[]string{`annotation halfclose.cni/exempt is ignored: its value is not JSON: invalid character ',' after top-level value`},
		},
		"unknown ones": {
			careless, "any", pod("closeWaitGrace", "1m", "colour", "red", "", "x"), below, nil,
			[]string{
				`annotation halfclose.cni/ is ignored: there is none of this name: after halfclose.cni/ there are mode, grace, close-wait-grace, fin-wait2-grace, clock, pending-data, exempt`,
				`annotation halfclose.cni/closeWaitGrace is ignored: there is none of this name, did you mean halfclose.cni/close-wait-grace?`,
				`annotation halfclose.cni/colour is ignored: there is none of this name: after halfclose.cni/ there are mode, grace, close-wait-grace, fin-wait2-grace, clock, pending-data, exempt`,
			},
		},
		"values that are too long": {
			careless, "any", pod("grace", many("0", 256)+"9m", "exempt", "["+many(" ", 16<<10)+"]"), below, nil,
			[]string{
				`annotation halfclose.cni/exempt is ignored: its value has 16386 bytes, at most 16384 are allowed`,
				`annotation halfclose.cni/grace is ignored: its value has 258 bytes, at most 256 are allowed`,
			},
		},
		"what the pod wrote is escaped": {
			careless, "any", pod("mode", "\x1b[31m\n\u202eoff", "a\nb", ""), below, nil,
			[]string{
				`annotation "halfclose.cni/a\nb" is ignored: there is none of this name: after halfclose.cni/ there are mode, grace, close-wait-grace, fin-wait2-grace, clock, pending-data, exempt`,
				`annotation halfclose.cni/mode is ignored: unknown mode "\x1b[31m\n\u202eoff": want "destroy", "observe" or "off"`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := network(t, fmt.Sprintf(tt.conf, tt.overrides))
			p, from, warnings := n.WithAnnotations(tt.annotations)
			want := policy.Policy{
				Mode: tt.want.mode, CloseWaitGrace: tt.want.closeWait, FinWait2Grace: tt.want.finWait2,
				Clock: tt.want.clock, PendingData: tt.want.pending, Exempt: tt.want.exempt,
			}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			wantFrom := maps.Clone(n.Sources)
			maps.Copy(wantFrom, tt.sources)
			if diff := cmp.Diff(wantFrom, from); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(network(t, fmt.Sprintf(tt.conf, tt.overrides)), n); diff != "" {
				t.Errorf("the network changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRelaxAddsExemptionsToBuiltInOnes(t *testing.T) {
	n := network(t, `{"podOverrides": "relax"}`)
	p, from, warnings := n.WithAnnotations(pod("exempt", `[{"loopback": true}]`))
	if diff := cmp.Diff([]policy.Exemption{{Loopback: true}}, p.Exempt); diff != "" || len(warnings) > 0 {
		t.Errorf("warnings %q, exemptions (-want +got):\n%s", warnings, diff)
	}
	if want := "annotation halfclose.cni/exempt"; from["exempt"] != want {
		t.Errorf("from %q, want %q", from["exempt"], want)
	}
}

func TestRelaxOfTheMostExemptionsIsValid(t *testing.T) {
	list := func(first int) string {
		var entries []string
		for i := range 64 {
			entries = append(entries, fmt.Sprintf(`{"localPorts": "%d"}`, first+i))
		}
		return "[" + strings.Join(entries, ",") + "]"
	}
	n := network(t, `{"podOverrides": "relax", "exempt": `+list(1000)+`}`)
	p, _, warnings := n.WithAnnotations(pod("exempt", list(2000)))
	if problems := p.Validate(); len(p.Exempt) != 128 || len(problems)+len(warnings) > 0 {
		t.Errorf("got %d exemptions, %v, %q", len(p.Exempt), problems, warnings)
	}
}

func TestAnnotationsOfANetworkThatWasNeverParsed(t *testing.T) {
	p, from, _ := policy.Network{}.WithAnnotations(nil)
	if diff := cmp.Diff(policy.Policy{}, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sources(nil), from); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestAnnotationWarningsAreBounded(t *testing.T) {
	annotations := map[string]string{}
	for i := range 1000 {
		annotations[fmt.Sprintf("%s%d%s", policy.AnnotationPrefix, i, many("\x00", 1000))] = many("x", 1000)
	}
	_, _, warnings := network(t, `{}`).WithAnnotations(annotations)
	checkWarnings(t, warnings)
	if want := "and 985 more about the pod's annotations"; len(warnings) != 16 || warnings[15] != want {
		t.Errorf("got %d warnings, the last %q, want 16, the last %q", len(warnings), warnings[len(warnings)-1], want)
	}
}

func TestAnnotationWarningIsBounded(t *testing.T) {
	annotations := pod("exempt", "["+many(`{"\u0000\u202e":1},`, 60)+"{}]")
	_, _, warnings := network(t, `{}`).WithAnnotations(annotations)
	checkWarnings(t, warnings)
	if len(warnings) != 1 || !strings.HasSuffix(warnings[0], "...") {
		t.Errorf("got %q, want one that is cut short", warnings)
	}
}

// checkWarnings fails unless the warnings are few, short and fit to be shown.
func checkWarnings(t *testing.T, warnings []string) {
	t.Helper()
	if len(warnings) > 16 {
		t.Errorf("%d warnings", len(warnings))
	}
	for _, w := range warnings {
		if len(w) > 512 {
			t.Errorf("a warning of %d bytes: %.100s", len(w), w)
		}
		if strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("not fit to be shown: %q", w)
		}
	}
}
