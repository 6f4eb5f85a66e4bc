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
	WouldDestroy = "would-destroy" // but for the mode
	PeerGone     = "peer-gone"     // the question to its peer ended it
	Closed       = "closed"        // by its owner, while its peer was asked
)

// Entry is the account of one socket that was destroyed, or would have been.
type Entry struct {
	// Seq numbers the entries of one reaper from 1 on.
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`
	// How is how a peer that is gone showed it: "reset" or "timeout". OwnerResult is what the socket's owner gets from then on.
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
	// Late is how long after its last progress, or after it became half-closed, and its grace it was destroyed, without
	// Excused, which ExcusedBy has the reasons of: registered-later, found-late, budget, owners, spared and policy.
	Late      Seconds  `json:"lateSeconds"`
	Excused   Seconds  `json:"excusedSeconds,omitempty"`
	ExcusedBy []string `json:"excusedBy,omitempty"`
	RQueue    uint32   `json:"rqueueBytes"`
	WQueue    uint32   `json:"wqueueBytes"`
	UID       uint32   `json:"uid"`
	Cookie    uint64   `json:"cookie"`
	// Owners are the processes that held it, as far as they were found before they let go of it: those in its
	// network namespace, or others where none was.
	Owners []owners.Process `json:"owners,omitempty"`
}

// HistoryQuery says which entries of the history to list.
type HistoryQuery struct {
	// History and After are those of the page before, History and Last: only what came later is listed.
	// Entries of another reaper's history have other numbers, so with another History all are.
	History string
	After   uint64
	// Wait is how long to wait for an entry if there is none yet.
	Wait time.Duration
}

// HistoryPage is an answer to a HistoryQuery.
type HistoryPage struct {
	// History names the history: a reaper begins another each time it starts.
	History string    `json:"history"`
	Since   time.Time `json:"since"` // when it was begun
	Entries []Entry   `json:"entries"`
	Last    uint64    `json:"last"` // the number of the newest entry that there is
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
