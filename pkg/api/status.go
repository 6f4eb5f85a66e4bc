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

// Health is the answer to GET /healthz of a reaper that is at work.
type Health struct {
	Status string `json:"status"` // "ok"
}

// ReaperStatus is what the reaper does and for whom.
type ReaperStatus struct {
	Finder      FinderView     `json:"finder"`
	Mode        ModeView       `json:"mode"`
	Budget      BudgetView     `json:"budget"`
	Peers       PeersView      `json:"peers"`
	Namespaces  int            `json:"namespaces"`
	Unreachable int            `json:"unreachableNetns"` // how many of the namespaces cannot be entered
	Candidates  map[string]int `json:"candidates"`       // by state
	AgeBounds   []Seconds      `json:"ageBoundsSeconds"` // where the buckets of all Ages end
	Ages        Ages           `json:"ages"`
	Counts      Counts         `json:"counts"`
	// AgesLost says why this reaper found no usable ages of sockets when it started, "" if it did: idle times began with it.
	AgesLost    string           `json:"agesLost,omitempty"`
	Attachments []AttachmentView `json:"attachments"`
	// Problems are files in the state directory that are no record.
	Problems []ProblemView `json:"problems"`
	// Refusals are what the reaper is kept from.
	Refusals []RefusalView `json:"refusals"`
}

// FinderView is how the finder keeps up.
type FinderView struct {
	Name string `json:"name"` // of what does the work now: sockdiag or bpf
	// Why says why the work is not all done by the finder that costs least, "" where there is nothing to say.
	Why string `json:"why,omitempty"`
	// Known is how many sockets the set has that the kernel keeps for the bpf finder, Room how many it can have.
	Known  int     `json:"known,omitempty"`
	Room   int     `json:"room,omitempty"`
	Missed uint64  `json:"missed,omitempty"` // sockets that the kernel should have told of and did not
	Sweeps uint64  `json:"sweeps"`           // of one namespace each, or of all at once
	CPU    Seconds `json:"cpuSeconds"`
	// Late is how far sweeping lags behind what the graces ask for, 0 while it keeps up.
	Late Seconds `json:"lateSeconds"`
}

// BudgetView is the bound on destroys, and what waits for it.
type BudgetView struct {
	PerSecond int `json:"destroysPerSecond"` // 0: no bound
	Waiting   int `json:"waiting"`
}

// AttachmentView is one attachment, what applies to it and what was found in its namespace. Attachments of
// one namespace share the latter.
type AttachmentView struct {
	state.Attachment
	Network string    `json:"network"`
	Pod     state.Pod `json:"pod"`
	Netns   string    `json:"netns"`
	// Recorded is when the record was written, by the wall clock.
	Recorded time.Time `json:"recorded"`
	// Plugin is the build of the plugin that wrote the record; zero where another program did, or one that did not say.
	Plugin  buildinfo.Build `json:"plugin,omitzero"`
	Policy  PolicyView      `json:"policy"` // of this attachment; with podOverrides relax, the one with the annotations
	Sources policy.Sources  `json:"sources,omitempty"`
	// Mode is what happens, CappedBy what makes it more conservative than the policy's.
	Mode     policy.Mode `json:"mode"`
	CappedBy []string    `json:"cappedBy,omitempty"`
	// BlockedBy are the files that do so, at the end of CappedBy: they name its network namespace, and cannot be read or acted
	// on.
	BlockedBy []ProblemView `json:"blockedBy,omitempty"`
	// Inert says why nothing is done about this attachment, "" if something is.
	Inert    string   `json:"inert,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Problem  string   `json:"problem,omitempty"` // of the last look into the namespace
	// Unreachable is why its network namespace cannot be entered, "" if it can.
	Unreachable  string         `json:"unreachable,omitempty"`
	Candidates   map[string]int `json:"candidates"`
	Ages         Ages           `json:"ages,omitzero"` // absent without candidates
	Oldest       Seconds        `json:"oldestSeconds"`
	Destroyed    uint64         `json:"destroyed"`
	WouldDestroy uint64         `json:"wouldDestroy"`
	Swept        *Seconds       `json:"sweptSecondsAgo,omitempty"`
}

// PolicyView is a policy to look at. Its JSON form has the keys of a conflist; where the values come from stands
// beside it.
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

// ProblemView is a file that is no record.
type ProblemView struct {
	File    string `json:"file"`
	Problem string `json:"problem"`
}

// Counts is what has happened since the reaper started.
type Counts struct {
	Destroyed    map[inetdiag.State]uint64 `json:"destroyed"`
	WouldDestroy map[inetdiag.State]uint64 `json:"wouldDestroy"`
	// PeerGone are sockets that ended because their peers do not know the connection any more, as a reset showed
	// when they were asked, or did not answer. WouldAsk are questions that the mode forbade.
	PeerGone uint64 `json:"peerGone"`
	WouldAsk uint64 `json:"wouldAsk"`
	// LooksTooOld counts looks at sockets that were not destroyed by them, because too much time had passed: each was
	// looked at again.
	LooksTooOld uint64 `json:"looksTooOld"`
	// Gone are sockets that ended by themselves between the decision to destroy them and the destroy.
	Gone   uint64            `json:"gone"`
	Errors map[string]uint64 `json:"errors"` // refused destroys, by errno
}

// Clone returns counts that share no memory with c.
func (c Counts) Clone() Counts {
	c.Destroyed, c.WouldDestroy, c.Errors = maps.Clone(c.Destroyed), maps.Clone(c.WouldDestroy), maps.Clone(c.Errors)
	return c
}
