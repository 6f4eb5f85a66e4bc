// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
)

const testBoot = "6ca07e8a-4d30-4a5c-9b3e-a3f2d8f0c001"

func encodeAll(all []savedCandidate) []byte {
	var b bytes.Buffer
	w := newSavedWriter(&b, testBoot)
	for _, s := range all {
		w.add(s)
	}
	if err := w.end(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// randomCandidate is a candidate that a reaper may have saved before moment(0).
func randomCandidate(rnd *rand.Rand) savedCandidate {
	since := moment(-time.Duration(rnd.Int64N(int64(10 * time.Hour))))
	last := since.Add(time.Duration(rnd.Int64N(int64(moment(0).Sub(since)) + 1)))
	h := policy.History{
		ID: closeWait(rnd.Uint64(), 0).ID, State: inetdiag.FinWait2, Owned: rnd.IntN(2) == 0,
		Since: since, Start: since, Last: last, Role: policy.Role(rnd.IntN(3)), Asks: uint8(rnd.Uint32()), SegsIn: rnd.Uint32(),
		Counters: policy.Counters{Acked: rnd.Uint64(), Received: rnd.Uint64(), Written: rnd.Uint64(), Read: rnd.Uint64()},
	}
	if rnd.IntN(2) == 0 {
		h.State, h.Start, h.Progress, h.PeerAlive = inetdiag.CloseWait, last, last, last
		h.Frozen = time.Duration(rnd.Int64N(int64(moment(0).Sub(since)) + 1))
		h.FrozenIdle = h.Frozen / 2
	}
	var idle simulate.Track
	idle.Begin(&h, max(h.Start.Add(-time.Duration(rnd.Int64N(int64(time.Hour)))), 1), simulate.Verdict{Eligible: true, Rule: rnd.IntN(9)})
	return savedCandidate{netns.Identity{Cookie: rnd.Uint64(), Dev: rnd.Uint64(), Inode: rnd.Uint64()}, aged{h, idle, recorded(rnd.IntN(8))}}
}

var exactly = cmp.Options{cmp.AllowUnexported(savedCandidate{}, aged{}), cmpopts.EquateComparable(inetdiag.ID{}, simulate.Track{})}

func TestSavedCandidatesRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	for n := range 50 {
		var want []savedCandidate
		for range n {
			want = append(want, randomCandidate(rnd))
		}
		got, _, err := decodeCandidates(encodeAll(want), testBoot, moment(0))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, exactly); diff != "" {
			t.Fatalf("decoded (-want +got):\n%s", diff)
		}
	}
}

func TestImplausibleSavedCandidatesAreIgnored(t *testing.T) {
	good := randomCandidate(rand.New(rand.NewPCG(13, 14)))
	good.history.Since, good.history.Start, good.history.Frozen, good.history.FrozenIdle = moment(-time.Hour), moment(-time.Hour), time.Minute, time.Second
	good.history.Progress, good.history.Last = moment(-time.Minute), moment(-time.Second)
	for name, change := range map[string]func(h *policy.History){
		"a look that is to come":           func(h *policy.History) { h.Last = moment(1) },
		"progress that is to come":         func(h *policy.History) { h.Progress = moment(1) },
		"a start that is to come":          func(h *policy.History) { h.Start = moment(1) },
		"a start before the half-close":    func(h *policy.History) { h.Start = h.Since - 1 },
		"an answer that is to come":        func(h *policy.History) { h.PeerAlive = moment(1) },
		"an answer before boot":            func(h *policy.History) { h.PeerAlive = -1 },
		"frozen for less than no time":     func(h *policy.History) { h.Frozen, h.FrozenIdle = -2, -2 },
		"frozen for longer than its age":   func(h *policy.History) { h.Frozen = 2 * time.Hour },
		"idle frozen for longer than that": func(h *policy.History) { h.FrozenIdle = h.Frozen + 1 },
		"a role that there is not":         func(h *policy.History) { h.Role = 3 },
		"a look before the half-close":     func(h *policy.History) { h.Last = h.Since - 1 },
		"a half-close that never was":      func(h *policy.History) { h.Since = 0 },
		"a half-close before boot":         func(h *policy.History) { h.Since = -1 },
		"progress before boot":             func(h *policy.History) { h.Progress = -1 },
		"a socket of an impossible family": func(h *policy.History) { h.ID = inetdiag.ID{} },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad.history)
			got, left, err := decodeCandidates(encodeAll([]savedCandidate{good, bad, good}), testBoot, moment(0))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]savedCandidate{good, good}, got, exactly); diff != "" || left != 1 {
				t.Errorf("%d left out; decoded (-want +got):\n%s", left, diff)
			}
		})
	}
}

func TestInvalidSavedFilesAreErrors(t *testing.T) {
	whole := encodeAll([]savedCandidate{randomCandidate(rand.New(rand.NewPCG(15, 16)))})
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"the magic alone":     []byte(savedMagic),
		"a longer one":        append(slices.Clone(whole), 0),
		"a shorter one":       whole[:len(whole)-1],
		"an entry too little": append(slices.Clone(whole[:savedHeaderSize]), whole[len(whole)-4:]...),
		"another version":     []byte(strings.Replace(string(whole), "candidates 5", "candidates 6", 1)),
		"the version before":  []byte(strings.Replace(string(whole), "candidates 5", "candidates 4", 1)),
	} {
		if got, _, err := decodeCandidates(b, testBoot, moment(0)); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for i := range whole {
		changed := slices.Clone(whole)
		changed[i] ^= 0x40
		if got, _, err := decodeCandidates(changed, testBoot, moment(0)); err == nil {
			t.Fatalf("with a bit of byte %d flipped: %v", i, got)
		}
	}
	if _, _, err := decodeCandidates(whole, strings.Replace(testBoot, "6", "7", 1), moment(0)); !errors.Is(err, errOtherBoot) {
		t.Errorf("of another boot: %v", err)
	}
}

func FuzzDecodeCandidates(f *testing.F) {
	rnd := rand.New(rand.NewPCG(17, 18))
	f.Add(encodeAll(nil))
	f.Add(encodeAll([]savedCandidate{randomCandidate(rnd)}))
	f.Add(encodeAll([]savedCandidate{randomCandidate(rnd), randomCandidate(rnd)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			b = SealSaved(b) // otherwise the checksum rejects every change
		}
		all, left, err := decodeCandidates(b, testBoot, moment(0))
		if err != nil {
			if all != nil {
				t.Errorf("an error beside %d candidates", len(all))
			}
			return
		}
		again, none, err := decodeCandidates(encodeAll(all), testBoot, moment(0))
		if err != nil || none != 0 || left < 0 {
			t.Fatalf("what was decoded is encoded as something else: %v, %d left out", err, none)
		}
		if diff := cmp.Diff(all, again, exactly); diff != "" {
			t.Errorf("decoded again (-first +second):\n%s", diff)
		}
	})
}
