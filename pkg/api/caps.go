// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import "github.com/halfclose/halfclose/pkg/policy"

// Cap is one thing that keeps the mode of a node from what an operator or a policy asks for.
type Cap int

// The caps.
const (
	CapReaper           Cap = iota // the reaper's --mode
	CapSwitch                      // the node's switch
	CapSwitchUnreadable            // the switch cannot be read, which counts as observe
	CapKernel                      // the kernel cannot destroy sockets, which counts as observe
	CapNetns                       // no network namespace can be entered, which counts as observe
)

// Caps lists what keeps the mode of a node from m.
func (v ModeView) Caps(m policy.Mode) []Cap {
	var caps []Cap
	if v.Reaper > m {
		caps = append(caps, CapReaper)
	}
	if v.Switch != nil && v.Switch.Mode > m {
		caps = append(caps, CapSwitch)
	}
	if v.SwitchProblem != "" && m < policy.Observe {
		caps = append(caps, CapSwitchUnreadable)
	}
	if v.KernelProblem != "" && m < policy.Observe {
		caps = append(caps, CapKernel)
	}
	if v.NetnsProblem != "" && m < policy.Observe {
		caps = append(caps, CapNetns)
	}
	return caps
}
