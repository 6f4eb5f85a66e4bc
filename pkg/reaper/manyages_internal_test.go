// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
)

func TestHalfAMillionAgesSurviveARestart(t *testing.T) {
	const flood, beside = 500_000, 3
	l, many := newTestLoop(t, policy.Destroy)
	few := newRegistered(2)
	few.limit = l.caps.limit(few)
	l.registry.namespaces[few.Identity] = few
	look := lateLook(1)
	for ns, n := range map[*registered]uint64{many: flood, few: beside} {
		for cookie := range n {
			look.Socket = closeWait(cookie+1, time.Hour)
			see(l, ns.Identity, look)
		}
	}
	since := many.candidates[flood].history.Since
	var file bytes.Buffer
	l.boot = savedTestBoot
	if err := l.encode(&file); err != nil || l.ages.unsaved != 0 {
		t.Fatalf("%d are not saved: %v", l.ages.unsaved, err)
	}
	if file.Len() > maxSavedBytes {
		t.Errorf("the next reaper reads files of up to %d bytes, this one has %d", maxSavedBytes, file.Len())
	}

	next, _ := newTestLoop(t, policy.Destroy)
	var err error
	if next.saved.candidates, _, err = decodeCandidates(file.Bytes(), savedTestBoot, now()); err != nil {
		t.Fatal(err)
	}
	next.applyCensus(censusOf(next.registry, registration(many), registration(few)))
	for ns, n := range map[*registered]int{many: flood, few: beside} {
		if got := len(next.registry.namespaces[ns.Identity].candidates); got != n {
			t.Errorf("%d of %d are restored", got, n)
		}
	}
	if c := next.registry.namespaces[many.Identity].candidates[flood]; c == nil || c.history.Since != since {
		t.Errorf("the last one is restored as %+v", c)
	}
	if next.warnings.all()[WarnSavedAges] != 0 {
		t.Error("the restart warns of lost ages")
	}
}

// TestAFileWithoutRoomForAllAgesLacksThoseOfTheLargestNetns writes files with room for some of the candidates.
func TestAFileWithoutRoomForAllAgesLacksThoseOfTheLargestNetns(t *testing.T) {
	l, many := newTestLoop(t, policy.Destroy)
	few := newRegistered(2)
	few.limit = l.caps.limit(few)
	l.registry.namespaces[few.Identity] = few
	for cookie := range uint64(20) {
		see(l, many.Identity, lateLook(cookie+1))
	}
	see(l, few.Identity, lateLook(1), lateLook(2))
	for limit, want := range map[int]map[netns.Identity]int{
		5:  {few.Identity: 2, many.Identity: 3},
		22: {few.Identity: 2, many.Identity: 20},
	} {
		got, left := make(map[netns.Identity]int), 0
		for s := range l.savable(limit, &left) {
			got[s.netns]++
		}
		if got[few.Identity] != want[few.Identity] || got[many.Identity] != want[many.Identity] || left != 22-limit {
			t.Errorf("of room for %d it makes %v, and leaves %d", limit, got, left)
		}
	}
}

func TestDroppedAgesOfUnregisteredNetnsAreLogged(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	var log bytes.Buffer
	l.warnings = newWarnings(slog.New(slog.NewTextHandler(&log, nil)))
	h := policy.History{ID: closeWait(1, 0).ID, State: inetdiag.CloseWait, Since: now(), Start: now(), Last: now()}
	l.keepAges(ns.Identity, make([]aged, maxFormerHistories), now().Add(time.Hour), now())
	if log.Len() > 0 {
		t.Errorf("it warns although all are kept: %s", &log)
	}
	l.keepAges(newRegistered(2).Identity, []aged{{h, simulate.Track{}, 0}}, now().Add(2*time.Hour), now())
	if l.warnings.all()[WarnSavedAges] != 1 || !bytes.Contains(log.Bytes(), []byte("sockets=100000")) {
		t.Errorf("it logs %q", &log)
	}
}
