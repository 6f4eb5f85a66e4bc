// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// DryRun is the answer to GET /v1/mode/dry-run: what "halfclose mode destroy" would do at once to the sockets as they were
// at their last looks. Each socket is looked at again before it is destroyed.
type DryRun struct {
	state.Scope // of the switch that would be lifted
	// Destroys is the number of sockets that would be destroyed, Questions the number of sockets whose peers would be asked.
	Destroys  int `json:"destroys"`
	Questions int `json:"questions"`
	// DestroysPerSecond and AsksPerSecond are the rate limits of the reaper. 0 is no limit of destroys, and no questions.
	DestroysPerSecond int `json:"destroysPerSecond"`
	AsksPerSecond     int `json:"asksPerSecond"`
	// Pods has the network namespaces in the scope that have a half-closed socket, by pod.
	Pods []DryRunPod `json:"pods"`
}

// DryRunPod is the part of a DryRun in one network namespace.
type DryRunPod struct {
	Pod         state.Pod   `json:"pod"`
	ContainerID string      `json:"containerID"`
	Mode        policy.Mode `json:"mode"`       // that would result
	HalfClosed  int         `json:"halfClosed"` // sockets
	Destroys    int         `json:"destroys"`
	Questions   int         `json:"questions"`
	// Kept is the number of sockets that are past their grace, and that CappedBy keeps.
	Kept int `json:"kept"`
	// CappedBy lists the causes that would still keep the mode from destroy, in words.
	CappedBy []string `json:"cappedBy,omitempty"`
}
