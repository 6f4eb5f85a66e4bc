// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/owners"
)

// walkOwners finds the processes that hold sockets by the kernel's walk over all descriptors. What that shows nobody
// to hold is looked for in /proc, as everything is where there are no programs.
type walkOwners struct {
	kernel *Kernel
	proc   *owners.Proc
}

// Find implements owners.Resolver.
func (w *walkOwners) Find(ctx context.Context, q owners.Query) (map[uint32][]owners.Process, error) {
	if !w.proc.First() { // the walk tells the machine's process ids, which are not those of /proc
		return w.proc.Find(ctx, q)
	}
	return w.proc.FindBy(ctx, q, func(holds func(inode uint32, pid int, command string) error) error {
		err := w.kernel.holders(func(h *bpf.Holder) error { return holds(h.Inode, h.PID, h.Command) })
		if ctx.Err() == nil {
			return nil // without the programs all are looked for in /proc
		}
		return err
	})
}
