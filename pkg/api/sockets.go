// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// SocketView is one TCP socket, and what is done about it.
type SocketView struct {
	Pod         state.Pod      `json:"pod"`
	ContainerID string         `json:"containerID,omitempty"`
	Netns       string         `json:"netns"`
	Local       string         `json:"local"`
	Peer        string         `json:"peer"`
	State       inetdiag.State `json:"state"`
	// Age is how long it has been half-closed, as far as can be proven; Idle how long nothing has moved.
	Age     *Seconds      `json:"ageSeconds,omitempty"`
	Idle    *Seconds      `json:"idleSeconds,omitempty"`
	RQueue  uint32        `json:"rqueueBytes"`
	WQueue  uint32        `json:"wqueueBytes"`
	UID     uint32        `json:"uid"`
	Inode   uint32        `json:"inode"`
	Cookie  uint64        `json:"cookie"`
	Verdict policy.Reason `json:"verdict"`
	Mode    policy.Mode   `json:"mode"`
	Why     string        `json:"why"`
	// Deadline is how long until its grace ends; negative once it has.
	Deadline *Seconds `json:"deadlineSeconds,omitempty"`
	// Questions is how many questions to its peer this idle time has had. PeerAsked is how long ago the one was sent that
	// is out, PeerAlive how long ago the peer answered last; NotAsked is why it was not asked the last time.
	Questions int              `json:"questions,omitempty"`
	PeerAsked *Seconds         `json:"peerAskedSecondsAgo,omitempty"`
	PeerAlive *Seconds         `json:"peerAliveSecondsAgo,omitempty"`
	NotAsked  string           `json:"notAsked,omitempty"`
	Owners    []owners.Process `json:"owners,omitempty"`
}

// SocketQuery says which sockets to list.
type SocketQuery struct {
	// All looks at every TCP socket of the registered namespaces now; otherwise what is known of the
	// half-closed ones is listed.
	All bool
	// Netns is the path of one more namespace, registered or not, to look at in the same way.
	Netns string
	// Owners asks for the processes that hold each socket.
	Owners bool
	// Pod, unless empty, is the pod whose sockets are listed, as namespace/name or as its name alone, or the
	// beginning of a container ID.
	Pod string
	// State, unless zero, and Verdict, unless nil, are what the listed sockets have.
	State   inetdiag.State
	Verdict *policy.Reason
}

// CoversPod reports whether --pod, the API's pod parameter, means an attachment: it is empty, the pod's name, its
// namespace/name or the beginning of the container ID.
func CoversPod(want string, pod state.Pod, containerID string) bool {
	return want == "" || want == pod.String() || want == pod.Name || strings.HasPrefix(containerID, want)
}

// Wants reports whether a socket of a covered network namespace is among those asked for.
func (q SocketQuery) Wants(v *SocketView) bool {
	return (q.State == 0 || q.State == v.State) && (q.Verdict == nil || *q.Verdict == v.Verdict)
}

// SocketList is the answer to a SocketQuery as a whole.
type SocketList struct {
	Sockets []SocketView `json:"sockets"`
	// Problems are the network namespaces and owners that could not be read.
	Problems []string `json:"problems"`
}

// SocketsEnd is the last line of GET /v1/sockets. Each line before it is a SocketView.
type SocketsEnd struct {
	// Complete is false if the reaper stopped while it listed.
	Complete bool     `json:"complete"`
	Problems []string `json:"problems"`
}
