// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

// RefusalKind is an operation that the node denies to a reaper.
type RefusalKind string

// The kinds of refusals, the worst first.
const (
	RefusedNetlink RefusalKind = "netlink" // to open sock_diag: nothing can be destroyed
	RefusedNetns   RefusalKind = "netns"   // to enter network namespaces: their sockets can be neither looked at nor destroyed
	RefusedOwners  RefusalKind = "owners"  // to list descriptors: owners are not found
	RefusedPeers   RefusalKind = "peers"   // to receive descriptors: peers are not asked
)

// RefusalView is an operation that the reaper has tried and that was denied.
type RefusalView struct {
	Kind RefusalKind `json:"kind"`
	// Fatal is true if the reaper cannot destroy any socket.
	Fatal bool `json:"fatal"`
	// Of is the number of network namespaces or processes that were tried, and Count the number that refused. Problem
	// is the error of one of them, and Do the remedy.
	Count   int    `json:"count"`
	Of      int    `json:"of"`
	Problem string `json:"problem"`
	Do      string `json:"do"`
}

// PeersView is the state of the questions to peers, with their counts.
type PeersView struct {
	PerSecond int `json:"asksPerSecond"` // 0: none is asked
	// Answers counts the questions by answer, NotAsked the peers that were not asked by reason.
	Answers  map[string]uint64 `json:"answers"`
	NotAsked map[string]uint64 `json:"notAsked"`
	// Refused counts the refusals of the kernel by errno.
	Refused map[string]uint64 `json:"refused,omitempty"`

	Queued int `json:"queued"` // waiting questions
	Asking int `json:"asking"` // unanswered questions
	// Missing is the number of sockets that still have the options of a question, and for which the prober currently
	// finds no descriptor.
	Missing int `json:"missing,omitempty"`
	// Stuck is the number of threads that block in the close of a duplicated descriptor. Suspended is true while that is
	// too many to ask another peer.
	Stuck     int  `json:"stuck,omitempty"`
	Suspended bool `json:"suspended,omitempty"`

	Restored uint64 `json:"restored"` // sockets whose options were restored
	// Earlier is the part of Restored that an earlier reaper had left, Unreadable the number of its unreadable records.
	Earlier    uint64 `json:"earlier,omitempty"`
	Unreadable uint64 `json:"unreadable,omitempty"`
	// Lost is the number of sockets for which no descriptor was found any more: if still open, they keep the options.
	Lost uint64  `json:"lost,omitempty"`
	CPU  Seconds `json:"cpuSeconds"`
}
