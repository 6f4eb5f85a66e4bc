// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"container/heap"
	"iter"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// tracker knows the candidates of all namespaces and which is to be looked at next. It does no I/O and
// reads no clock.
type tracker struct {
	agenda  agenda
	changed bool                     // since the candidates were last saved
	spared  map[policy.Reason]uint64 // how often a candidate came to be spared for a reason
}

// seen takes in a finder's look at one socket.
func (t *tracker) seen(ns *registered, seen *finder.Seen, now monotime.Time) {
	s := &seen.Socket
	c := ns.candidates[s.ID.Cookie()]
	var prev *policy.History
	if c != nil {
		if cmp.Or(seen.Asked, seen.At).Before(c.history.Last) {
			return // the examiner has looked since
		}
		prev = &c.history
	} else {
		c = &candidate{ns: ns, index: -1}
		ns.candidates[s.ID.Cookie()] = c
	}
	h := policy.Follow(prev, policy.Look{At: seen.At, Asked: seen.Asked, Socket: s, Entered: seen.Entered})
	t.update(c, h, s, policy.Judge(*ns.policy, h, s, now), now)
}

// update takes over what a look established, and puts the candidate on the agenda.
func (t *tracker) update(c *candidate, h policy.History, s *inetdiag.Socket, v policy.Verdict, now monotime.Time) {
	if h.Since != c.history.Since || h.Progress != c.history.Progress || h.Owned != c.history.Owned {
		t.changed = true
	}
	if v.Reason != c.reason && !v.Destroy() {
		if t.spared == nil {
			t.spared = make(map[policy.Reason]uint64)
		}
		t.spared[v.Reason]++
	}
	c.look(h, s, v)
	if v.Destroy() && !c.noted {
		c.again = max(now, c.retry)
	}
	t.schedule(c)
}

// postpone leaves a candidate alone for a while that the kernel could not be asked about.
func (t *tracker) postpone(c *candidate, now monotime.Time) {
	c.retry = now.Add(retryAfter)
	c.again = c.retry
	t.schedule(c)
}

// schedule puts c on the agenda, or takes it off, as c.again says.
func (t *tracker) schedule(c *candidate) {
	switch {
	case c.again.IsZero() || c.queued:
		if c.index >= 0 {
			heap.Remove(&t.agenda, int(c.index))
		}
	case c.index >= 0:
		heap.Fix(&t.agenda, int(c.index))
	default:
		heap.Push(&t.agenda, c)
	}
}

// restore takes over a history that an earlier process saved: it is confirmed by a look at once.
func (t *tracker) restore(ns *registered, h policy.History, now monotime.Time) {
	cookie := h.ID.Cookie()
	if ns.candidates[cookie] != nil {
		return
	}
	c := &candidate{ns: ns, index: -1, history: h, again: now, from: now, reason: policy.Unknown}
	ns.candidates[cookie] = c
	t.schedule(c)
}

// drop forgets a candidate.
func (t *tracker) drop(c *candidate) {
	if c.index >= 0 {
		heap.Remove(&t.agenda, int(c.index))
	}
	delete(c.ns.candidates, c.history.ID.Cookie())
	t.changed = true
}

// dropAll forgets all candidates of a namespace.
func (t *tracker) dropAll(ns *registered) {
	for _, c := range ns.candidates {
		t.drop(c)
	}
}

// missed returns the candidates that a sweep of their namespace did not show. They may be gone, or the
// dump, which is no snapshot, has missed them.
func (t *tracker) missed(ns *registered, swept monotime.Time) []*candidate {
	var missed []*candidate
	for _, c := range ns.candidates {
		if c.history.Last.Before(swept) && !c.queued {
			missed = append(missed, c)
		}
	}
	return missed
}

// due takes the candidates off the agenda whose time has come.
func (t *tracker) due(now monotime.Time) []*candidate {
	var due []*candidate
	for len(t.agenda) > 0 && !now.Before(t.agenda[0].again) {
		due = append(due, heap.Pop(&t.agenda).(*candidate))
	}
	return due
}

// next returns when the next candidate's time comes.
func (t *tracker) next() (monotime.Time, bool) {
	if len(t.agenda) == 0 {
		return 0, false
	}
	return t.agenda[0].again, true
}

// upcoming yields the candidates whose time comes by then, the earlier ones mostly first. It visits no others.
// Nothing may be scheduled meanwhile.
func (t *tracker) upcoming(until monotime.Time) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
			i := queue[0]
			if i >= len(t.agenda) || until.Before(t.agenda[i].again) {
				continue // nor are those below it any sooner
			}
			if !yield(t.agenda[i]) {
				return
			}
			queue = append(queue, 2*i+1, 2*i+2)
		}
	}
}

// rejudge looks again at what has been decided for a namespace whose policy has changed.
func (t *tracker) rejudge(ns *registered, now monotime.Time) {
	for _, c := range ns.candidates {
		if c.reason == policy.Unknown {
			continue // it is to be looked at, or nothing is known of it
		}
		c.noted, c.from = false, now
		s := c.socket()
		t.update(c, c.history, &s, c.judge(now), now)
	}
}

// agenda is a heap of candidates by the time of their next look.
type agenda []*candidate

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].again < a[j].again }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = int32(i), int32(j)
}

func (a *agenda) Push(x any) {
	c := x.(*candidate)
	c.index = int32(len(*a))
	*a = append(*a, c)
}

func (a *agenda) Pop() any {
	old := *a
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	c.index = -1
	return c
}
