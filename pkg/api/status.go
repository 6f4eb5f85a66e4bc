// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version buildinfo.Info `json:"version"`
	Holder  Holder         `json:"process"`
	ReaperStatus
}

// Health is the answer to GET /healthz of a reaper that can do its work.
type Health struct {
	Status string `json:"status"` // "ok"
}

// ReaperStatus is the state of a reaper and of its attachments.
type ReaperStatus struct {
	Finder      FinderView     `json:"finder"`
	Mode        ModeView       `json:"mode"`
	PolicyFile  PolicyFileView `json:"policyFile"`
	Budget      BudgetView     `json:"budget"`
	Peers       PeersView      `json:"peers"`
	Namespaces  int            `json:"namespaces"`
	Unreachable int            `json:"unreachableNetns"` // the part of Namespaces that cannot be entered
	Candidates  map[string]int `json:"candidates"`       // by state
	AgeBounds   []Seconds      `json:"ageBoundsSeconds"` // upper bounds of the buckets of all Ages
	Ages        Ages           `json:"ages"`
	Counts      Counts         `json:"counts"`
	// AgesLost is the reason why this reaper could not use saved ages when it started, so that idle times started again; ""
	// if it could.
	AgesLost    string           `json:"agesLost,omitempty"`
	Adoption    AdoptionView     `json:"adoption"`
	Attachments []AttachmentView `json:"attachments"`
	// Problems are the unreadable files in the state directory.
	Problems []ProblemView `json:"problems"`
	// Refusals are the operations that the node denies to the reaper.
	Refusals []RefusalView `json:"refusals"`
	// Descriptors are those of ended sockets that a process still holds.
	Descriptors DescriptorsView `json:"descriptors"`
	// Unwritable are the files that plugin or reaper cannot write.
	Unwritable []UnwritableView `json:"unwritable"`
	// History is the history on disk; nil if the reaper keeps none.
	History *HistoryStoreView `json:"history,omitempty"`
}

// FinderView is the state of the finder.
type FinderView struct {
	Name string `json:"name"` // in use: sockdiag or bpf
	// Why is the reason why the cheapest finder does not do all of the work, "" if it does or if another one was selected.
	Why string `json:"why,omitempty"`
	// Known is the number of sockets in the bpf finder's set, Room the capacity of that set.
	Known  int     `json:"known,omitempty"`
	Room   int     `json:"room,omitempty"`
	Missed uint64  `json:"missed,omitempty"` // sockets that the kernel did not report
	Sweeps uint64  `json:"sweeps"`           // of one network namespace each, or of the node
	CPU    Seconds `json:"cpuSeconds"`
	// Late is the delay of sweeps beyond the interval that the policies require, 0 while they are on time.
	Late Seconds `json:"lateSeconds"`
	// Crowded are the network namespaces with very many half-closed sockets. Each is swept on its own, so that it does not
	// delay the others.
	Crowded []CrowdedView `json:"crowded,omitempty"`
	// Stale is how old the counts of half-closed sockets may be, for some network namespace; 0 if the finder has read all of
	// them for this answer.
	Stale Seconds `json:"staleSeconds,omitempty"`
}

// CrowdedView is a network namespace with very many half-closed sockets.
type CrowdedView struct {
	Container string    `json:"containerId"` // of its first attachment
	Pod       state.Pod `json:"pod"`
	Netns     string    `json:"netns"`
	Sockets   int       `json:"sockets"` // found so far
}

// BudgetView is the rate limit of destroys, and the number of sockets that wait for it.
type BudgetView struct {
	PerSecond int `json:"destroysPerSecond"` // 0: unlimited
	Waiting   int `json:"waiting"`
}

// AttachmentView is one attachment, its policy, and the sockets of its network namespace. Attachments of one network
// namespace show the same sockets.
type AttachmentView struct {
	state.Attachment
	Network string    `json:"network"`
	Pod     state.Pod `json:"pod"`
	Netns   string    `json:"netns"`
	// Recorded is the wall-clock time when the record was written.
	Recorded time.Time `json:"recorded"`
	// Plugin is the build of the plugin that wrote the record; zero if unknown.
	Plugin  buildinfo.Build `json:"plugin,omitzero"`
	Policy  PolicyView      `json:"policy"` // of this attachment; with podOverrides relax, the one with the annotations
	Sources policy.Sources  `json:"sources,omitempty"`
	// Mode is the mode in force, CappedBy the causes that make it more conservative than the policy's.
	Mode     policy.Mode `json:"mode"`
	CappedBy []string    `json:"cappedBy,omitempty"`
	// BlockedBy are the files among CappedBy: they name this network namespace, and the reaper cannot read them or act on
	// them.
	BlockedBy []ProblemView `json:"blockedBy,omitempty"`
	// Inert is the reason why the reaper cannot act on this attachment, "" if it can.
	Inert    string   `json:"inert,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Problem  string   `json:"problem,omitempty"` // of the last sweep of the network namespace, or of the last look-ups and destroys in it
	// Unreachable is the reason why its network namespace cannot be entered, "" if it can.
	Unreachable  string         `json:"unreachable,omitempty"`
	Candidates   map[string]int `json:"candidates"`
	Ages         Ages           `json:"ages,omitzero"` // absent without candidates
	Oldest       Seconds        `json:"oldestSeconds"`
	Destroyed    uint64         `json:"destroyed"`
	WouldDestroy uint64         `json:"wouldDestroy"`
	Swept        *Seconds       `json:"sweptSecondsAgo,omitempty"`
}

// PolicyView is a policy. Its JSON form has the keys of a conflist, without the sources of the values.
type PolicyView policy.Policy

// MarshalJSON writes every value.
func (v PolicyView) MarshalJSON() ([]byte, error) {
	return json.Marshal(policy.Policy(v).Layer(policy.SourceNetwork))
}

// UnmarshalJSON reads what MarshalJSON writes. The reaper may be of another version: keys that this one does not know are
// ignored.
func (v *PolicyView) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	known := policy.Default().Sources
	maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool { return known[key] == "" })
	data, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	layer, problems := policy.ParseLayer(data, policy.SourceNetwork)
	if len(problems) > 0 {
		return fmt.Errorf("read policy: %w", problems)
	}
	*v = PolicyView(policy.Compose(layer))
	v.Sources = nil
	return nil
}

// ProblemView is a file that cannot be read as a record.
type ProblemView struct {
	File    string `json:"file"`
	Problem string `json:"problem"`
}

// Counts has the counters since the start of the reaper.
type Counts struct {
	Destroyed    map[inetdiag.State]uint64 `json:"destroyed"`
	WouldDestroy map[inetdiag.State]uint64 `json:"wouldDestroy"`
	// PeerGone counts the sockets that the kernel closed because the peer, when asked, sent a reset or did not answer.
	// WouldAsk counts the questions that only the mode prevented.
	PeerGone uint64 `json:"peerGone"`
	WouldAsk uint64 `json:"wouldAsk"`
	// LooksTooOld counts the look-ups that were repeated because too much time had passed to destroy the socket by them.
	LooksTooOld uint64 `json:"looksTooOld"`
	// Gone counts the sockets that closed between the decision to destroy them and the destroy.
	Gone   uint64            `json:"gone"`
	Errors map[string]uint64 `json:"errors"` // refused look-ups and destroys, by errno
}

// Clone returns a deep copy.
func (c Counts) Clone() Counts {
	c.Destroyed, c.WouldDestroy, c.Errors = maps.Clone(c.Destroyed), maps.Clone(c.WouldDestroy), maps.Clone(c.Errors)
	return c
}
