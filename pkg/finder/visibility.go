// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// visibility knows the network namespaces whose sockets a walk over all processes shows. A walk sees the
// processes of the reaper's PID namespace and of those below. In the machine's initial PID namespace these are
// all processes. In another one, a network namespace counts as visible once a visible process is in it, or the
// walk has shown one of its sockets.
type visibility struct {
	proc    *owners.Proc
	all     bool // every network namespace is visible
	visible map[netns.Identity]bool
	grown   bool // since the last refresh
}

func newVisibility(proc *owners.Proc) visibility {
	return visibility{proc: proc, all: proc.InInitialPIDNS(), visible: make(map[netns.Identity]bool)}
}

// covers reports whether a walk shows the sockets of a network namespace.
func (v *visibility) covers(id netns.Identity) bool { return v.all || v.visible[id] }

// add records that a walk has shown a socket of a network namespace, or that a visible process is in it.
func (v *visibility) add(id netns.Identity) {
	if !v.all && !v.visible[id] {
		v.visible[id], v.grown = true, true
	}
}

// refresh forgets the network namespaces that are not in the set, adds those of the set with a visible process,
// and reports whether more are visible than at the last refresh.
func (v *visibility) refresh(ctx context.Context, set []Netns) (grown bool) {
	if v.all {
		return false
	}
	before := v.visible
	v.visible = make(map[netns.Identity]bool, len(set))
	hidden := make(map[uint64]struct{})
	for _, n := range set {
		if before[n.Identity] {
			v.visible[n.Identity] = true
		} else {
			hidden[n.Identity.Inode] = struct{}{}
		}
	}
	inhabited, _ := v.proc.NetnsWithProcesses(ctx, hidden) // after an error the remaining namespaces stay hidden
	for _, n := range set {
		if _, ok := inhabited[n.Identity.Inode]; ok {
			v.add(n.Identity)
		}
	}
	grown, v.grown = v.grown, false
	return grown
}
