// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"runtime"
	"testing"
	"time"
)

// TestACandidateTakesAtMost400Bytes has as many candidates as a few very large pods have, all on the agenda.
func TestACandidateTakesAtMost400Bytes(t *testing.T) {
	const candidates, most = 100_000, 400
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	tr := newTracker()
	namespaces := []*registered{newRegistered(1), newRegistered(2), newRegistered(3)}
	for cookie := range uint64(candidates) {
		tr.seen(namespaces[cookie%3], seenAt(cookie+1, time.Second, moment(0)), moment(0))
	}
	if each := (heap() - before) / candidates; len(tr.agenda) != candidates || each > most {
		t.Errorf("%d candidates take %d bytes each, want at most %d", len(tr.agenda), each, most)
	} else {
		t.Logf("%d bytes each", each)
	}
	runtime.KeepAlive(namespaces)
}
