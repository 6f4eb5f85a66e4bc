// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"testing"
)

// TestOwnersAreBounded simulates a server that forks for each connection, so that each process inherits all earlier sockets.
func TestOwnersAreBounded(t *testing.T) {
	const processes = 3 * MaxOwners
	w := newWalk(context.Background(), -1, Query{})
	for pid := range processes {
		with := make(map[*ownerList]*ownerList)
		for inode := range pid + 1 {
			w.addOwner(uint32(inode), Process{PID: pid}, 0, 0, with)
		}
	}
	for inode, list := range w.result() {
		first := int(inode) // the process that has accepted it
		if want := min(processes-first, MaxOwners); len(list) != want || list[0].PID != first || list[want-1].PID != first+want-1 {
			t.Fatalf("socket %d has %d owners from %v to %v, want %d from %d on", inode, len(list), list[0].PID, list[len(list)-1].PID, want, first)
		}
	}
	if len(w.found) != processes {
		t.Errorf("owners of %d sockets, want %d", len(w.found), processes)
	}
}
