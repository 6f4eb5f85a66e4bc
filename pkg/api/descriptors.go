// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// DescriptorsView shows which processes keep the descriptors of sockets that were destroyed, or whose peer was found gone.
// Neither closes a descriptor: a process that never uses the connection again holds it until it exits.
type DescriptorsView struct {
	// Held is the number of these sockets of which a process still has a descriptor, a second or more after their end. Closed is
	// the number whose owners have closed their descriptors or exited.
	Held   int    `json:"held"`
	Closed uint64 `json:"closed"`
	// Tracked is the number of sockets whose descriptors are being watched, Held included.
	Tracked int `json:"tracked"`
	// Untracked is the number of ended sockets that are not watched: their owners were unknown, or there were too many.
	Untracked uint64 `json:"untracked"`
	// Holders are the processes that hold descriptors, those with the most first: at most MaxHolders.
	Holders []DescriptorHolder `json:"holders"`
	// NearLimit are the leaking processes that use more than NearFileLimit of their limit on open files.
	NearLimit []FileUse `json:"nearLimit"`
}

// MaxHolders bounds DescriptorsView.Holders and NearLimit.
const MaxHolders = 100

// DescriptorHolder is a process that holds descriptors of ended sockets.
type DescriptorHolder struct {
	owners.Process
	Pod  state.Pod `json:"pod"`
	Held int       `json:"held"`
	// Ended is the number of its sockets that ended while it was watched: of these, Held are held and the others closed.
	Ended uint64 `json:"ended"`
	// Since is when the first of the held ones ended.
	Since time.Time `json:"since"`
}

// FileUse is a process's use of its limit on open files (RLIMIT_NOFILE).
type FileUse struct {
	owners.Process
	Pod   state.Pod `json:"pod"`
	Open  uint64    `json:"open"`
	Limit uint64    `json:"limit"`
}

// NearFileLimit is the share of its limit on open files above which a leaking process is reported.
const NearFileLimit = 0.8

// IsNearLimit reports whether a process has opened more than NearFileLimit of the files that it may.
func (u FileUse) IsNearLimit() bool {
	return u.Limit > 0 && float64(u.Open) > NearFileLimit*float64(u.Limit)
}

// The names of files and directories that plugin and reaper write.
const (
	UnwritableAttachments = "attachments" // the directory of the plugin's records
	UnwritablePersistent  = "persistent"  // the directory of the files that survive a reboot
	UnwritableCandidates  = "candidates"  // the saved ages
	UnwritableAsked       = "asked"       // the directory of the options to restore
	UnwritableDescriptors = "descriptors" // the watched descriptors
	UnwritableSwitch      = "mode"        // the mode switches
	UnwritableHistory     = "history"
	UnwritableIdleTimes   = "idle-times" // the data of halfclose simulate
	UnwritablePolicy      = "policy"     // the copy of the last good policy file
)

// UnwritableNames lists them.
func UnwritableNames() []string {
	return []string{
		UnwritableAttachments, UnwritablePersistent, UnwritableCandidates, UnwritableAsked, UnwritableDescriptors, UnwritableSwitch,
		UnwritableHistory, UnwritableIdleTimes, UnwritablePolicy,
	}
}

// UnwritableView is a file or directory that plugin or reaper could not write when that was last tried.
type UnwritableView struct {
	Name    string    `json:"name"` // one of UnwritableNames
	Path    string    `json:"path"`
	Problem string    `json:"problem"`
	Since   time.Time `json:"since"`  // of the first failure after the last success
	Errors  uint64    `json:"errors"` // failures since the reaper started
}
