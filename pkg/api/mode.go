// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

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
	// Switch is the mode that an operator has set for this node, nil if none or if it has ended.
	Switch *state.Switch `json:"switch,omitempty"`
	// Switches are the modes that operators have set for pods, namespaces and containers and that have not ended. Effective
	// is without them.
	Switches      []state.Switch `json:"switches,omitempty"`
	SwitchProblem string         `json:"switchProblem,omitempty"`
	// KernelProblem is the reason why this reaper cannot destroy sockets on this kernel, "" if it can.
	KernelProblem string `json:"kernelProblem,omitempty"`
	// NetnsProblem is the reason why the reaper cannot enter any network namespace, "" if it can.
	NetnsProblem string `json:"netnsProblem,omitempty"`
}

// ModeRequest is the body of PUT /v1/mode.
type ModeRequest struct {
	state.Scope
	Mode policy.Mode `json:"mode"` // destroy or observe
	Who  string      `json:"who"`  // name of the operator, for people
	// Until is when the switch ends, by the wall clock of this node; zero is never.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"` // the operator's, for other operators
}

// WhereOff names the places where mode off can be set, since no switch has it.
const WhereOff = `off can be set by a policy (the key "mode" of the network's configuration, the annotation halfclose.cni/mode of a pod, ` +
	`the node's policy file, or "halfclose register --mode off") and for the whole node by the reaper's --mode off`
