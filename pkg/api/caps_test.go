// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestCapsAreWhatAllowsLessThanTheModeAskedFor(t *testing.T) {
	unable := api.ModeView{Reaper: policy.Destroy, SwitchProblem: "not JSON", KernelProblem: "not supported"}
	for _, tt := range []struct {
		name string
		view api.ModeView
		mode policy.Mode
		want []api.Cap
	}{
		{"nothing", api.ModeView{Reaper: policy.Destroy, Switch: &state.Switch{Mode: policy.Destroy}}, policy.Destroy, nil},
		{"the reaper and the switch", api.ModeView{Reaper: policy.Observe, Switch: &state.Switch{Mode: policy.Observe}}, policy.Destroy, []api.Cap{api.CapReaper, api.CapSwitch}},
		{"neither of them, where observe is enough", api.ModeView{Reaper: policy.Observe, Switch: &state.Switch{Mode: policy.Observe}}, policy.Observe, nil},
		{"a reaper that is off, from observe too", api.ModeView{Reaper: policy.Off}, policy.Observe, []api.Cap{api.CapReaper}},
		{"what counts as observe, from destroy", unable, policy.Destroy, []api.Cap{api.CapSwitchUnreadable, api.CapKernel}},
		{"but not from observe", unable, policy.Observe, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.view.Caps(tt.mode)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestEachCapHasAReasonInWords(t *testing.T) {
	v := api.ModeView{
		Reaper: policy.Observe, Switch: &state.Switch{Mode: policy.Off, Who: "alice", When: time.Unix(0, 0)},
		SwitchProblem: "not JSON", KernelProblem: "not supported", NetnsProblem: "operation not permitted",
	}
	want := []string{
		"the reaper's --mode observe",
		"the switch, set to off by alice at 1970-01-01T00:00:00Z",
		"the unreadable switch: not JSON",
		"the kernel: not supported",
		"unreachable network namespaces: operation not permitted",
	}
	if diff := cmp.Diff(want, v.CapReasons(policy.Destroy)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	v.Switch.Who, v.Switch.When = "", time.Time{}
	if diff := cmp.Diff([]string{"the switch, set to off by hand"}, v.CapReasons(policy.Observe)); diff != "" {
		t.Errorf("a switch set by hand (-want +got)\n%s", diff)
	}
}
