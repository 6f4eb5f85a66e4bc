// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

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
