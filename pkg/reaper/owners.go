// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

// errNoOwners says that owners were asked of a reaper that has nothing to find them by.
var errNoOwners = errors.New("this reaper does not look for owners")

// addOwners looks up who holds each socket, all in one look.
func (r *Reaper) addOwners(ctx context.Context, views []api.SocketView) error {
	if r.cfg.Owners == nil {
		return errNoOwners
	}
	q := owners.Query{Inodes: make(map[uint32]struct{}, len(views)), Netns: make(map[uint64]struct{}), Scope: owners.AllProcesses}
	for i := range views {
		if inode := views[i].Inode; inode != 0 {
			q.Inodes[inode] = struct{}{}
		}
	}
	if len(q.Inodes) == 0 {
		return nil
	}
	err := r.read(ctx, func(l *loop) {
		for id := range l.registry.namespaces {
			q.Netns[id.Inode] = struct{}{}
		}
	})
	if err != nil {
		return err
	}
	found, err := r.cfg.Owners.Find(ctx, q)
	for i := range views {
		views[i].Owners = found[views[i].Inode]
	}
	return err
}
