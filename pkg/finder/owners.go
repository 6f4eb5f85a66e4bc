// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/owners"
)

// programResolver finds the owners of sockets by the kernel's walk over all descriptors, and searches /proc for
// the sockets to which that walk finds none.
type programResolver struct {
	programs OwnerPrograms
	proc     *owners.Proc
}

// Find implements owners.Resolver.
func (r *programResolver) Find(ctx context.Context, q owners.Query) (map[uint32][]owners.Process, error) {
	if !r.proc.InInitialPIDNS() { // the walk returns the initial PID namespace's PIDs, which are not those of /proc
		return r.proc.Find(ctx, q)
	}
	return r.proc.FindWith(ctx, q, func(holds func(owners.Descriptor) error) error {
		err := r.programs.Descriptors(func(h *bpf.Descriptor) error {
			return holds(owners.Descriptor{Inode: h.Inode, PID: h.PID, TID: h.TID, FD: h.FD, Command: h.Command})
		})
		if err != nil && ctx.Err() == nil {
			return owners.ErrPartial // FindWith searches /proc for the rest
		}
		return err
	})
}
