// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

// RefusalKind is what a reaper is kept from.
type RefusalKind string

// The kinds of refusals, the worst first.
const (
	RefusedNetlink RefusalKind = "netlink" // to open sock_diag: nothing can be destroyed
	RefusedNetns   RefusalKind = "netns"   // to enter network namespaces: their sockets can be neither looked at nor destroyed
	RefusedOwners  RefusalKind = "owners"  // to list descriptors: owners are not found
	RefusedPeers   RefusalKind = "peers"   // to receive descriptors: peers are not asked
)

// RefusalView is one thing that the reaper is kept from, found by trying.
type RefusalView struct {
	Kind RefusalKind `json:"kind"`
	// Fatal says that nothing can be destroyed.
	Fatal bool `json:"fatal"`
	// Count is the number of network namespaces or processes that refuse, Of that of all that were tried; Problem is the
	// error of one.
	Count   int    `json:"count"`
	Of      int    `json:"of"`
	Problem string `json:"problem"`
	Do      string `json:"do"`
}

// PeersView is how asking peers goes.
type PeersView struct {
	PerSecond int `json:"asksPerSecond"` // 0: none is asked
	// Answers counts the questions by how they ended, NotAsked the questions that were not asked, by the reason.
	Answers  map[string]uint64 `json:"answers"`
	NotAsked map[string]uint64 `json:"notAsked"`
	// Refused counts by errno what the kernel refused.
	Refused map[string]uint64 `json:"refused,omitempty"`

	Queued int `json:"queued"` // questions that wait
	Asking int `json:"asking"` // questions that are out
	// Missing are sockets with the options of a question, to which no descriptor leads at present.
	Missing int `json:"missing,omitempty"`
	// Stuck are threads that closing a duplicate of a descriptor blocks. Suspended says that no peer is asked until fewer
	// are.
	Stuck     int  `json:"stuck,omitempty"`
	Suspended bool `json:"suspended,omitempty"`

	Restored uint64 `json:"restored"` // sockets whose options were put back
	// Earlier is the part of Restored that an earlier reaper had left, Unreadable its records that could not be read.
	Earlier    uint64 `json:"earlier,omitempty"`
	Unreadable uint64 `json:"unreadable,omitempty"`
	// Lost are sockets that no descriptor led to any more: if they live, they keep the options of a question.
	Lost uint64  `json:"lost,omitempty"`
	CPU  Seconds `json:"cpuSeconds"`
}
