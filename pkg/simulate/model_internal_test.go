// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// connection is the brute-force model of a half-closed socket: the times of all of its bytes, and the times of the looks.
type connection struct {
	start   monotime.Time // of the half-close
	bytes   []monotime.Time
	end     monotime.Time
	how     End
	pending bool

	unseen  monotime.Time // the last sweep before the half-close; zero if the start was seen
	looks   []monotime.Time
	noticed monotime.Time // the end
}

// longest returns the longest idle period, and the longest one that a byte followed.
func (c *connection) longest() (idle, moved time.Duration) {
	last := c.start
	for _, b := range c.bytes {
		moved = max(moved, b.Sub(last))
		last = b
	}
	return max(moved, c.end.Sub(last)), moved
}

const model = monotime.Time(time.Hour) // when the random connections begin

func randomConnection(r *rand.Rand) *connection {
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d) + 1)) }
	scale := []time.Duration{time.Second, 10 * time.Second, 5 * time.Minute, 6 * time.Hour}[r.IntN(4)]
	c := &connection{start: model.Add(upTo(scale)), pending: r.IntN(4) == 0}
	at := c.start
	for range r.IntN(5) {
		at = at.Add(1 + upTo(scale))
		c.bytes = append(c.bytes, at)
	}
	c.end = at.Add(upTo(2 * scale))

	distance := 1 + upTo(scale)
	look := c.start
	if r.IntN(2) == 0 { // no notification: a sweep finds it
		c.unseen = c.start.Add(-upTo(distance))
		look = look.Add(upTo(distance))
	}
	if look > c.end { // it ended unseen
		look = c.end
	}
	c.looks = []monotime.Time{look}
	for {
		look = look.Add(1 + upTo(distance))
		if look > c.end {
			break
		}
		c.looks = append(c.looks, look)
	}
	c.noticed = look
	c.how = Ends()[r.IntN(len(Ends()))]
	if c.how != Closed { // halfclose has seen every byte
		last := c.looks[len(c.looks)-1]
		c.bytes = slices.DeleteFunc(c.bytes, func(b monotime.Time) bool { return b > last })
		c.noticed = c.end
	}
	return c
}

// watch returns the history and the track that the looks give.
func (c *connection) watch() (h policy.History, t Track) {
	h = policy.History{State: inetdiag.CloseWait, Owned: true, Since: c.start, Start: c.looks[0], Last: c.looks[0]}
	if c.unseen.IsZero() {
		h.Start = c.start
	}
	verdict := Verdict{Pending: c.pending, Eligible: true}
	t.Begin(&h, c.unseen, verdict)
	for _, look := range c.looks[1:] {
		next := h
		next.Last = look
		if slices.ContainsFunc(c.bytes, func(b monotime.Time) bool { return b > h.Last && b <= look }) {
			next.Progress = look
		}
		t.Continue(&h, &next)
		t.Set(verdict)
		h = next
	}
	return h, t
}

// graces returns graces to try: those of the buckets, and any.
func graces(r *rand.Rand) []time.Duration {
	all := edges[:]
	for range 20 {
		all = append(all, Shortest+time.Duration(r.Int64N(int64(12*time.Hour))), Shortest+time.Duration(r.Int64N(int64(time.Minute))))
	}
	return all
}

// TestEstimatesEncloseTheTruth compares random connections, looked at at random times, with all of their bytes.
func TestEstimatesEncloseTheTruth(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := &Data{Tables: []Table{{}, {}, {}}}
		var all []*connection
		for range 1 + r.IntN(8) {
			c := randomConnection(r)
			all = append(all, c)
			h, track := c.watch()
			d.Tables[r.IntN(3)].Add(Pod{Namespace: "shop", Name: "web"}, &h, &track, c.how, c.noticed)
		}
		for _, grace := range graces(r) {
			probeAfter := 1 + time.Duration(r.Int64N(int64(grace)))
			probeAfter = max(probeAfter, Shortest)
			got := d.Estimate(&Query{Grace: grace, ProbeAfter: policy.Patience(probeAfter)}).Total
			var want struct{ destroyed, wrong, pending, asked uint64 }
			for _, c := range all {
				idle, moved := c.longest()
				switch {
				case c.pending && idle >= grace:
					want.pending++
				case !c.pending && idle >= grace:
					want.destroyed++
				}
				if !c.pending && moved >= grace {
					want.wrong++
				}
				if idle >= probeAfter && probeAfter < grace {
					want.asked++
				}
			}
			encloses := func(what string, r Range, truth uint64) {
				if r.Least > r.Most || truth < r.Least || r.Most < truth {
					t.Fatalf("seed %d, grace %v, probeAfter %v: %s is %v, the truth %d", seed, grace, probeAfter, what, r, truth)
				}
			}
			encloses("destroyed", got.Destroyed, want.destroyed)
			encloses("wrong", got.Wrong, want.wrong)
			encloses("asked", got.Asked, want.asked)
			encloses("pending", Range{0, got.Pending}, want.pending)
			if got.Wrong.Most > got.Destroyed.Most || got.Wrong.Least > got.Destroyed.Least || got.Sockets != uint64(len(all)) {
				t.Fatalf("seed %d, grace %v: more wrong destroys than destroys, or not %d sockets: %+v", seed, grace, len(all), got)
			}
		}
	}
}

// TestSuggestionIsNeverWrong asserts on the same model that a suggested grace would have destroyed no socket that moved later.
func TestSuggestionIsNeverWrong(t *testing.T) {
	suggested := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		table := Table{}
		var moved time.Duration
		for range 1 + r.IntN(8) {
			c := randomConnection(r)
			h, track := c.watch()
			table.Add(Pod{}, &h, &track, c.how, c.noticed)
			if _, m := c.longest(); !c.pending {
				moved = max(moved, m)
			}
		}
		d := &Data{Tables: []Table{table}}
		s := d.Suggest(Query{ProbeAfter: policy.Never})
		if s.Grace == 0 {
			continue
		}
		suggested++
		if moved >= s.Grace {
			t.Errorf("seed %d: %v is suggested, but a socket moved after %v", seed, s.Grace, moved)
		}
		if s.IgnoringClosed == 0 || s.IgnoringClosed > s.Grace {
			t.Errorf("seed %d: without the closed sockets %v is suggested, with them %v", seed, s.IgnoringClosed, s.Grace)
		}
	}
	if suggested == 0 {
		t.Error("nothing was ever suggested")
	}
}

// randomTable returns the counts of a few random connections.
func randomTable(r *rand.Rand) Table {
	table := Table{}
	for range r.IntN(5) {
		c := randomConnection(r)
		h, track := c.watch()
		l := Verdict{Pending: c.pending, Eligible: true, Rule: r.IntN(3), Grace: time.Duration(r.IntN(3)) * time.Minute}
		track.Set(l)
		table.Add(Pod{Name: []string{"a", "b"}[r.IntN(2)]}, &h, &track, c.how, c.noticed)
	}
	return table
}

func TestMergingIsAssociativeAndCommutative(t *testing.T) {
	merged := func(tables ...Table) Table {
		sum := Table{}
		for _, o := range tables {
			sum.Merge(o)
		}
		return sum
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		a, b, c := randomTable(r), randomTable(r), randomTable(r)
		left := merged(merged(a, b), c)
		for _, other := range []Table{merged(a, merged(b, c)), merged(c, b, a)} {
			if text(t, left) != text(t, other) {
				t.Fatalf("seed %d: %s is not %s", seed, text(t, left), text(t, other))
			}
		}
	}
}
