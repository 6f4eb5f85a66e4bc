// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ModeView is the mode of the node and its causes. The mode of an attachment is the most conservative of Effective and of
// the mode in its own policy.
type ModeView struct {
	Effective policy.Mode `json:"effective"` // of the node, without the policies
	Reaper    policy.Mode `json:"reaper"`    // --mode
	// SwitchFile is the path of the switch's file.
	SwitchFile string `json:"switchFile"`
	// Switch is the mode that an operator has set for this node, nil if none.
	Switch        *state.Switch `json:"switch,omitempty"`
	SwitchProblem string        `json:"switchProblem,omitempty"`
	// KernelProblem is the reason why this reaper cannot destroy sockets on this kernel, "" if it can.
	KernelProblem string `json:"kernelProblem,omitempty"`
	// NetnsProblem is the reason why the reaper cannot enter any network namespace, "" if it can.
	NetnsProblem string `json:"netnsProblem,omitempty"`
}

// ModeRequest is the body of PUT /v1/mode.
type ModeRequest struct {
	Mode policy.Mode `json:"mode"` // destroy or observe
	Who  string      `json:"who"`  // name of the operator, for people
}
