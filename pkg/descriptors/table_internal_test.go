// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package descriptors

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/owners"
)

// TestAFullTableIsSearchedRarely fills a table with processes of one socket each: a pod can fork as many.
func TestAFullTableIsSearchedRarely(t *testing.T) {
	const most = 6400
	table := newTable(most)
	add := func(inode uint32, pid int) { table.add(&Socket{Inode: inode, Owners: []owners.Process{{PID: pid}}}, 1) }
	for i := range uint32(most) {
		add(i+1, int(i)+1)
	}
	add(most+1, most+1)
	if free := most - len(table.sockets); free < most/64-1 {
		t.Errorf("after a search there is room for %d sockets", free)
	}
	if len(table.sockets)+int(table.untracked) != most+1 {
		t.Errorf("%d sockets are watched, %d are not", len(table.sockets), table.untracked)
	}
	for i := range uint32(most) {
		add(2*most+i, 1)
	}
	if len(table.sockets) != most || table.greedy != 1 || len(table.processes[1].sockets) <= 1 {
		t.Errorf("%d sockets, of which the process with the most has %d; the search for it is repeated", len(table.sockets), len(table.processes[1].sockets))
	}
	untracked := table.untracked
	add(4*most, 2)
	if _, ok := table.sockets[4*most]; !ok || table.untracked == untracked {
		t.Error("another process gets no room from it")
	}
	add(4*most+1, 1)
	if _, ok := table.sockets[4*most+1]; !ok {
		t.Error("there is room, but the process with the most gets none")
	}
}
