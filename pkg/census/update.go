// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// Update is the difference between two censuses.
type Update struct {
	Summary
	Namespaces []Namespace // the changed ones
}

// Summary is the part of a census that belongs to no network namespace. Its slices are replaced, never changed.
type Summary struct {
	Active   int // records that register their network namespace
	Mistakes int // active records with configuration mistakes, and Problems
	Inert    []Inert
	// Problems are the unreadable and invalid files.
	Problems   []state.Problem
	PolicyFile policyfile.Current
}

// Namespace is a network namespace with its active records.
type Namespace struct {
	Identity netns.Identity
	// Records are the active ones, sorted as state.CompareRecords does. Without any, the network namespace is not registered.
	Records  []state.Record
	Resolved []policy.Resolved // of each record
	Holds    []state.Hold      // files that cap its mode at observe // prose:ok: a noun
}

// Inert is a record without effect.
type Inert struct {
	Record state.Record
	Reason string
	// Deleted means that its netns is proven to be deleted: a runtime has left it without a DEL.
	Deleted bool

	final bool // it will not become active again
}

// InertAttachments returns how many inert records may be of existing network namespaces. The others are left over, and
// are pruned.
func (s *Summary) InertAttachments() int {
	n := 0
	for _, r := range s.Inert {
		if !r.Deleted {
			n++
		}
	}
	return n
}
