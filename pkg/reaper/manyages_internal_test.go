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
	l.boot = savedTestBoot
	file := savedFile(t, l)
	if len(file) > maxSavedBytes || l.ages.unsaved != 0 {
		t.Errorf("the next reaper reads files of up to %d bytes, this one has %d; %d are not saved", maxSavedBytes, len(file), l.ages.unsaved)
	}

	next, _ := newTestLoop(t, policy.Destroy)
	var err error
	if next.saved.candidates, _, err = decodeCandidates(file, savedTestBoot, now()); err != nil {
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
		got, pieces := make(map[netns.Identity]int), l.newSavePieces(limit)
		for pieces.next(func(s savedCandidate) { got[s.netns]++ }) {
		}
		if got[few.Identity] != want[few.Identity] || got[many.Identity] != want[many.Identity] || pieces.left != 22-limit {
			t.Errorf("of room for %d it makes %v, and leaves %d", limit, got, pieces.left)
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

// TestThePiecesOfAFileHaveEachCandidateThatStays changes the candidates and the registrations between two pieces.
func TestThePiecesOfAFileHaveEachCandidateThatStays(t *testing.T) {
	l, many := newTestLoop(t, policy.Destroy)
	few, away := newRegistered(2), newRegistered(3)
	for _, ns := range []*registered{few, away} {
		ns.limit = l.caps.limit(ns)
		l.registry.namespaces[ns.Identity] = ns
	}
	for cookie := range uint64(2 * pieceSize) {
		see(l, many.Identity, lateLook(cookie+1))
	}
	see(l, few.Identity, lateLook(1))
	see(l, away.Identity, lateLook(1), lateLook(2))
	got, pieces := make(map[netns.Identity]map[uint64]int), l.newSavePieces(maxSavedCandidates)
	count := 0
	add := func(s savedCandidate) {
		if got[s.netns] == nil {
			got[s.netns] = make(map[uint64]int)
		}
		got[s.netns][s.history.ID.Cookie()]++
		count++
	}
	if !pieces.next(add) || count > pieceSize {
		t.Fatalf("the first piece has %d candidates", count)
	}
	var dropped uint64
	for cookie, c := range many.candidates {
		if got[many.Identity][cookie] == 0 {
			dropped = cookie
			l.tracker.handle(c, eventForgotten, now())
			break
		}
	}
	// DEL and ADD.
	l.forget(away, now())
	delete(l.registry.namespaces, away.Identity)
	again := newRegistered(3)
	again.limit = l.caps.limit(again)
	l.registry.namespaces[away.Identity] = again
	for _, h := range l.ages.take(away.Identity, now()) {
		l.tracker.restore(again, h, now())
	}
	l.keepAges(netns.Identity{Inode: 9}, []aged{l.tracker.aged(few.candidates[1], now())}, now().Add(time.Hour), now())
	for pieces.next(add) {
	}
	if got[many.Identity][dropped] != 0 || len(got[many.Identity]) != 2*pieceSize-1 {
		t.Errorf("of %d candidates without the dropped one the file has %d", 2*pieceSize-1, len(got[many.Identity]))
	}
	if len(got[few.Identity]) != 1 || len(got[away.Identity]) != 2 || len(got[netns.Identity{Inode: 9}]) != 1 || pieces.left != 0 {
		t.Errorf("of the others it has %v, %v and %v; %d are left", got[few.Identity], got[away.Identity], got[netns.Identity{Inode: 9}], pieces.left)
	}
}
