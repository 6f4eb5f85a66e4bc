// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Cap is a cause that makes the mode of a node more conservative than an operator or a policy asks for.
type Cap int

// The caps.
const (
	CapReaper           Cap = iota // the reaper's --mode
	CapSwitch                      // the node's switch
	CapSwitchUnreadable            // the switch cannot be read, which counts as observe
	CapKernel                      // the kernel cannot destroy sockets, which counts as observe
	CapNetns                       // no network namespace can be entered, which counts as observe
)

// CapReasons describes in words each of Caps(m), in the same order. Every reason is a noun, or a noun with details after
// a colon, so that it fits "capped by REASON" and a list of reasons alike:
//
//	the reaper's --mode observe
//	the switch, set to observe by alice at 2026-01-02T03:04:05Z
//
// It is the only place with these words: status, mode, top, doctor and the attachments' cappedBy show them. What to do
// about a cap depends on the command, and is not part of the reason.
func (v ModeView) CapReasons(m policy.Mode) []string {
	var reasons []string
	for _, c := range v.Caps(m) {
		reasons = append(reasons, v.capReason(c))
	}
	return reasons
}

func (v ModeView) capReason(c Cap) string {
	switch c {
	case CapReaper:
		return "the reaper's --mode " + v.Reaper.String()
	case CapSwitch:
		return fmt.Sprintf("the switch, set to %v by %s", v.Switch.Mode, v.Switch.By())
	case CapSwitchUnreadable:
		return "the unreadable switch: " + v.SwitchProblem
	case CapKernel:
		return "the kernel: " + v.KernelProblem
	case CapNetns:
		return "unreachable network namespaces: " + v.NetnsProblem
	}
	return fmt.Sprintf("cap %d", c)
}

// Caps returns the causes that make the mode of a node more conservative than m.
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

// SwitchReasons describes in words the switches among list that are more conservative than m, in the form of CapReasons.
func SwitchReasons(list []state.Switch, m policy.Mode) []string {
	var reasons []string
	for _, sw := range list {
		if sw.Mode > m {
			reasons = append(reasons, fmt.Sprintf("the switch of %s, set to %v by %s", sw.ScopeName(), sw.Mode, sw.By()))
		}
	}
	return reasons
}
