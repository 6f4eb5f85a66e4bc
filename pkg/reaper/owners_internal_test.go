// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestLogLineHasOwnersOnlyIfKnown(t *testing.T) {
	j, b := newTestHistory()
	j.add(api.Entry{Time: time.Now(), Outcome: api.Destroyed, Owners: []owners.Process{{PID: 7, Command: "nginx"}, {PID: 9, Command: "sidecar"}}})
	j.add(api.Entry{Time: time.Now(), Outcome: api.Destroyed})
	lines := logged(t, b)
	if len(lines) != 2 || lines[0]["owners"] != "nginx[7] sidecar[9]" {
		t.Errorf("logged %v", lines)
	}
	if _, there := lines[1]["owners"]; there {
		t.Errorf("without owners logged %v", lines[1])
	}
}

// TestUpcomingYieldsAllCandidatesDueByATime compares the result with a loop over all candidates.
func TestUpcomingYieldsAllCandidatesDueByATime(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tr := newTracker()
	ns := newRegistered(1)
	for cookie := range uint64(1000) {
		tr.seen(ns, seenAt(cookie+1, time.Duration(rnd.IntN(int(testGrace))), moment(0)), moment(0))
	}
	for _, until := range []time.Duration{-time.Second, 0, time.Second, 7 * time.Second, testGrace, time.Hour} {
		var got, want []uint64
		for c := range tr.upcoming(moment(until)) {
			got = append(got, c.history.ID.Cookie())
		}
		for cookie, c := range ns.candidates {
			if !moment(until).Before(c.step.dueAt) {
				want = append(want, cookie)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("until %v (-want +got):\n%s", until, diff)
		}
	}
	for range tr.upcoming(moment(time.Hour)) {
		break // no look-up runs
	}
	checkAgenda(t, &tr, []*registered{ns}, 0)
}
