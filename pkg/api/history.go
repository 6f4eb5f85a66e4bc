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
	Failed       = "failed"        // the kernel refused to destroy it
)

// Outcomes lists the outcomes in the history.
func Outcomes() []string { return []string{Destroyed, WouldDestroy, PeerGone, Closed, Failed} }

// Entry describes one socket that was destroyed, that only the mode kept from it, that closed when its peer was asked, or
// that the kernel refused to destroy. With a Count above 1 it describes several.
type Entry struct {
	// Seq is the number of the entry, from 1 for the first of a reaper.
	Seq uint64 `json:"seq"`
	// Time is the wall-clock time: of the last socket, if there are several. First is that of the first one.
	Time    time.Time `json:"time"`
	First   time.Time `json:"firstTime,omitzero"`
	Outcome string    `json:"outcome"`
	// Count is the number of sockets: 0 is 1. Above it, addresses and ports that differ among them are absent or 0, the
	// times and bytes are the largest, and Cookie is 0. The history on disk has such entries where more than
	// history.MaxPerMinute sockets ended within a minute.
	Count int `json:"count,omitempty"`
	// FirstSeq is the Seq of the first of several sockets, 0 for one alone.
	FirstSeq uint64 `json:"firstSeq,omitempty"`
	// Errno is why a destroy failed, such as EPERM.
	Errno string `json:"errno,omitempty"`
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
	// others. MoreOwners is the number of owners that are left out on disk.
	Owners     []owners.Process `json:"owners,omitempty"`
	MoreOwners int              `json:"moreOwners,omitempty"`
}

// Sockets returns the number of sockets that the entry describes.
func (e *Entry) Sockets() int { return max(e.Count, 1) }

// HistoryQuery selects entries of the history.
type HistoryQuery struct {
	EntryFilter
	// Tail, unless 0, selects only that number of the newest among them: at most MaxTail.
	Tail int
	// History and After are History and Last of the previous page: only later entries are listed. If History is that of an
	// earlier reaper, they are the entries that it wrote to disk after that, and those of the reapers after it.
	History string
	After   uint64
	// Wait bounds the time to wait for an entry, if there is none yet.
	Wait time.Duration
}

// HistoryPage is the answer to a HistoryQuery as a whole.
type HistoryPage struct {
	// History identifies the reaper whose sequence Last belongs to; "" if no reaper answered.
	History string `json:"history"`
	// Since is the beginning of the history: on disk, or if nothing is there, of the reaper, which began at Began.
	Since   time.Time `json:"since"`
	Began   time.Time `json:"began,omitzero"`
	Entries []Entry   `json:"entries"`
	Last    uint64    `json:"last"` // number of the newest entry
	// Missed is the number of requested entries that the reaper no longer keeps.
	Missed uint64 `json:"missed"`
	// Problems describes what is missing: entries that could not be written, and files that could not be read.
	Problems []string `json:"problems,omitempty"`
}

// End returns the page without its entries.
func (p *HistoryPage) End() HistoryEnd {
	return HistoryEnd{Complete: true, History: p.History, Since: p.Since, Began: p.Began, Last: p.Last, Missed: p.Missed, Problems: p.Problems}
}

// HistoryEnd is the last line of GET /v1/history, with the fields of a HistoryPage. Each line before it is an Entry.
type HistoryEnd struct {
	Complete bool      `json:"complete"` // always true
	History  string    `json:"history"`
	Since    time.Time `json:"since"`
	Began    time.Time `json:"began,omitzero"`
	Last     uint64    `json:"last"`
	Missed   uint64    `json:"missed"`
	Problems []string  `json:"problems,omitempty"`
}

// Page returns the page with the given entries.
func (e *HistoryEnd) Page(entries []Entry) HistoryPage {
	return HistoryPage{
		History: e.History, Since: e.Since, Began: e.Began, Entries: entries, Last: e.Last, Missed: e.Missed, Problems: e.Problems,
	}
}
