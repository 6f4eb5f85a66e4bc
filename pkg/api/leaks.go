// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// LeakGroup is a group of leaked sockets: of one pod and one owner, in one state, and with one address in common.
type LeakGroup struct {
	Pod         state.Pod `json:"pod"`
	ContainerID string    `json:"containerID,omitempty"`
	Netns       string    `json:"netns"`
	// Owners are the processes that hold each of the sockets, at most MaxLeakOwners of OwnerCount.
	Owners     []owners.Process `json:"owners,omitempty"`
	OwnerCount int              `json:"ownerCount"`
	State      inetdiag.State   `json:"state"`
	Role       policy.Role      `json:"role"`
	// Local is the address that the sockets of a server have in common, and Peer that of a client's. One of them is set.
	Local string `json:"local,omitempty"`
	Peer  string `json:"peer,omitempty"`
	// Sockets is the number of sockets in the group, and Verdicts the number of each verdict.
	Sockets  int            `json:"sockets"`
	Verdicts map[string]int `json:"verdicts"`
	// Oldest and Newest are the times for which the oldest and the newest socket have been half-closed.
	Oldest Seconds `json:"oldestSeconds"`
	Newest Seconds `json:"newestSeconds"`
	// Growth is the number of sockets of the group that became half-closed per minute, over GrowthWindow or since the oldest
	// socket if that is shorter. Sockets that have ended in that time do not count. It is nil while halfclose has not watched
	// the network namespace for a minute.
	Growth *float64 `json:"growthPerMinute,omitempty"`
	Unread uint64   `json:"unreadBytes"` // in all sockets

	// Ended is the number of sockets of these owners that were destroyed, or whose peer was found gone, and Held the number
	// of those whose descriptors the owners have kept.
	Ended uint64 `json:"ended,omitempty"`
	Held  int    `json:"held,omitempty"`
	// Files is how many files the owner has opened, and its limit; nil if unknown or far from the limit.
	Files *FileUse `json:"files,omitempty"`
}

// MaxLeakOwners bounds LeakGroup.Owners.
const MaxLeakOwners = 8

// GrowthWindow is the time over which LeakGroup.Growth counts.
const GrowthWindow = 10 * time.Minute

// LeakIdle is the time without progress after which a half-closed socket counts as leaked, even if none of its patiences
// has ended.
const LeakIdle = time.Minute

// LeakQuery selects groups of leaked sockets.
type LeakQuery struct {
	PodQuery
	SocketFilter
	// State, unless zero, and Verdict, unless nil, select sockets by state and verdict.
	State   inetdiag.State
	Verdict *policy.Reason
	// All selects every half-closed socket, also the young ones and those without an owner.
	All bool
	// Min selects the groups with at least this number of sockets, and Limit the largest ones; 0 selects all.
	Min, Limit int
}

// LeakList is the answer to a LeakQuery: the groups with the most sockets first.
type LeakList struct {
	Groups []LeakGroup `json:"groups"`
	// Sockets is the number of sockets in all groups, the omitted ones included, and Omitted the number of groups beyond
	// LeakQuery.Limit.
	Sockets int `json:"sockets"`
	Omitted int `json:"omitted"`
	// Young is the number of the other half-closed sockets that the query covers: they are not leaks yet.
	Young int `json:"young"`
	// Holders are the processes of the covered pods that hold descriptors of ended sockets, and NearLimit the processes that
	// nearly reach their limit of open files.
	Holders   []DescriptorHolder `json:"holders"`
	NearLimit []FileUse          `json:"nearLimit"`
	Problems  []string           `json:"problems"` // of the look-up of owners
	Stale     Seconds            `json:"staleSeconds,omitempty"`
}
