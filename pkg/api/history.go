// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The outcomes in the history.
const (
	Destroyed    = "destroyed"
	WouldDestroy = "would-destroy" // only the mode prevented it
	PeerGone     = "peer-gone"     // the kernel closed it after a question to its peer
	Closed       = "closed"        // by its owner, while its peer was asked
)

// Entry describes one socket that was destroyed, that only the mode kept from it, or that closed when its peer was asked.
type Entry struct {
	// Seq is the number of the entry, from 1 for the first of a reaper.
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`
	// How is how a gone peer was detected: "reset" if it reset the connection, "timeout" if it did not answer.
	// OwnerResult is what the owner's system calls return from then on.
	How         string          `json:"how,omitempty"`
	OwnerResult string          `json:"ownerSees,omitempty"`
	Pod         state.Pod       `json:"pod"`
	Network     string          `json:"network"`
	ContainerID string          `json:"containerID"`
	Local       netip.AddrPort  `json:"local"`
	Peer        netip.AddrPort  `json:"peer"`
	State       inetdiag.State  `json:"state"`
	Age         Seconds         `json:"ageSeconds"`
	Idle        Seconds         `json:"idleSeconds"`
	Grace       policy.Patience `json:"grace,omitzero"` // absent where no grace ended it
	// Late is the time from the deadline to the destroy without Excused, whose reasons are ExcusedBy: registered-later,
	// found-late, budget, owners, spared and policy.
	Late      Seconds  `json:"lateSeconds"`
	Excused   Seconds  `json:"excusedSeconds,omitempty"`
	ExcusedBy []string `json:"excusedBy,omitempty"`
	RQueue    uint32   `json:"rqueueBytes"`
	WQueue    uint32   `json:"wqueueBytes"`
	UID       uint32   `json:"uid"`
	Cookie    uint64   `json:"cookie"`
	// Owners are the processes that own the socket: those in its network namespace or, if that has none, those in
	// others.
	Owners []owners.Process `json:"owners,omitempty"`
}

// HistoryQuery selects entries of the history.
type HistoryQuery struct {
	// History and After are History and Last of the previous page: only later entries are listed. If History is that of
	// another reaper, all entries are listed.
	History string
	After   uint64
	// Wait bounds the time to wait for an entry, if there is none yet.
	Wait time.Duration
}

// HistoryPage is the answer to a HistoryQuery as a whole.
type HistoryPage struct {
	// History identifies the history: each reaper starts a new one.
	History string    `json:"history"`
	Since   time.Time `json:"since"` // start of the history
	Entries []Entry   `json:"entries"`
	Last    uint64    `json:"last"` // number of the newest entry
	// Missed is the number of requested entries that the reaper no longer keeps.
	Missed uint64 `json:"missed"`
}

// HistoryEnd is the last line of GET /v1/history, with the fields of a HistoryPage. Each line before it is an Entry.
type HistoryEnd struct {
	Complete bool      `json:"complete"` // always true
	History  string    `json:"history"`
	Since    time.Time `json:"since"`
	Last     uint64    `json:"last"`
	Missed   uint64    `json:"missed"`
}
