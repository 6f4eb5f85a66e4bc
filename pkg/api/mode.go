// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ModeView is what may be done on this node, and why. The most conservative of its parts and of each
// record's own mode is what happens.
type ModeView struct {
	Effective policy.Mode `json:"effective"` // without any record's own
	Reaper    policy.Mode `json:"reaper"`    // --mode
	// SwitchFile is where the switch is kept.
	SwitchFile string `json:"switchFile"`
	// Switch is what was set by hand for this node, nil if nothing was.
	Switch        *state.Switch `json:"switch,omitempty"`
	SwitchProblem string        `json:"switchProblem,omitempty"`
	// KernelProblem is why this kernel or these privileges let nothing be destroyed, "" if they do.
	KernelProblem string `json:"kernelProblem,omitempty"`
	// NetnsProblem is why no network namespace can be entered, "" if one can.
	NetnsProblem string `json:"netnsProblem,omitempty"`
}

// ModeRequest is the body of PUT /v1/mode.
type ModeRequest struct {
	Mode policy.Mode `json:"mode"` // destroy or observe
	Who  string      `json:"who"`  // who asks, for people to read
}
