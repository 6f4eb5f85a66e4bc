// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// SocketView is one TCP socket, with the reaper's verdict on it.
type SocketView struct {
	Pod         state.Pod      `json:"pod"`
	ContainerID string         `json:"containerID,omitempty"`
	Netns       string         `json:"netns"`
	Local       string         `json:"local"`
	Peer        string         `json:"peer"`
	State       inetdiag.State `json:"state"`
	// Age is the time that the socket has provably been half-closed, Idle the time without progress.
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
	// Role is which side of the connection it is; RoleUnknown if the finder does not know.
	Role policy.Role `json:"role"`
	// Rule is the rule or exemption that decides its deadline, with its source; "" if none matches.
	Rule string `json:"rule,omitempty"`
	// Deadline is the time until the deadline; negative after it. AskIn is the time until its peer is due to be asked; absent
	// if it is not.
	Deadline *Seconds `json:"deadlineSeconds,omitempty"`
	AskIn    *Seconds `json:"askSeconds,omitempty"`
	// Questions is the number of questions to the peer in this idle time. PeerAsked is the age of the unanswered one,
	// PeerAlive that of the last answer. NotAsked is the reason why the peer was not asked the last time.
	Questions int              `json:"questions,omitempty"`
	PeerAsked *Seconds         `json:"peerAskedSecondsAgo,omitempty"`
	PeerAlive *Seconds         `json:"peerAliveSecondsAgo,omitempty"`
	NotAsked  string           `json:"notAsked,omitempty"`
	Owners    []owners.Process `json:"owners,omitempty"`
}

// SocketQuery selects sockets.
type SocketQuery struct {
	// All dumps every TCP socket of the registered network namespaces; otherwise only the known half-closed sockets are
	// listed.
	All bool
	// Netns is the path of one more network namespace to dump, registered or not.
	Netns string
	// Owners adds the processes that hold each socket.
	Owners bool
	PodQuery
	// State, unless zero, and Verdict, unless nil, select sockets by state and verdict.
	State   inetdiag.State
	Verdict *policy.Reason
	SocketFilter
}

// Wants reports whether q selects a socket of a covered network namespace, apart from its owners.
func (q *SocketQuery) Wants(v *SocketView) bool {
	return (q.State == 0 || q.State == v.State) && (q.Verdict == nil || *q.Verdict == v.Verdict) && q.selects(v)
}

// SocketList is the answer to a SocketQuery as a whole.
type SocketList struct {
	Sockets []SocketView `json:"sockets"`
	// Omitted is the number of sockets beyond the limit of the command.
	Omitted int `json:"omitted,omitempty"`
	// Problems are the network namespaces and owners that could not be read.
	Problems []string `json:"problems"`
	// Stale is how old the list may be, for some network namespace; 0 if the finder has read all of them for it.
	Stale Seconds `json:"staleSeconds,omitempty"`
}

// SocketsEnd is the last line of GET /v1/sockets. Each line before it is a SocketView.
type SocketsEnd struct {
	// Complete is false if the reaper stopped while it listed.
	Complete bool     `json:"complete"`
	Problems []string `json:"problems"`
	Stale    Seconds  `json:"staleSeconds,omitempty"`
}
