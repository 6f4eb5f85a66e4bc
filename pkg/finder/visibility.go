// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// sight knows of which namespaces a walk over all processes shows the sockets. A walk sees the processes of the pid
// namespace that the reaper is in, and of those below: in a machine's first one that is all. Elsewhere a network
// namespace counts as seen once a process in it is, or the walk has shown a socket of it.
type sight struct {
	proc    *owners.Proc
	all     bool
	seen    map[netns.Identity]bool
	changed bool // since look was called
}

func newSight(proc *owners.Proc) sight {
	return sight{proc: proc, all: proc.First(), seen: make(map[netns.Identity]bool)}
}

// sees reports whether the walk shows the sockets of a namespace.
func (s *sight) sees(id netns.Identity) bool { return s.all || s.seen[id] }

// saw notes that there is something to be seen of a namespace.
func (s *sight) saw(id netns.Identity) {
	if !s.all && !s.seen[id] {
		s.seen[id], s.changed = true, true
	}
}

// look looks which of the namespaces have a process, as they have soon after they were registered, and reports
// whether more of them are seen than when it was called before.
func (s *sight) look(ctx context.Context, set []Target) (changed bool) {
	if s.all {
		return false
	}
	was := s.seen
	s.seen = make(map[netns.Identity]bool, len(set)) // without those that are there no more
	unseen := make(map[uint64]struct{})
	for _, t := range set {
		if was[t.Identity] {
			s.seen[t.Identity] = true
		} else {
			unseen[t.Identity.Inode] = struct{}{}
		}
	}
	inhabited, _ := s.proc.Inhabited(ctx, unseen) // what cannot be looked at is not seen
	for _, t := range set {
		if _, ok := inhabited[t.Identity.Inode]; ok {
			s.saw(t.Identity)
		}
	}
	changed, s.changed = s.changed, false
	return changed
}
