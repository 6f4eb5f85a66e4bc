// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Query selects sockets, and the patiences to try on them.
type Query struct {
	Grace      time.Duration
	ProbeAfter policy.Patience
	// Covers reports whether a pod is selected; nil selects all. Each of the others selects all if it is zero. Pod.Other
	// stands for many pods: Covers gets it unchanged.
	Covers func(Pod) bool
	State  inetdiag.State
	Role   policy.Role
}

func (q *Query) selects(k *Key) bool {
	return (q.State == 0 || q.State == k.State) && (q.Role == policy.RoleUnknown || q.Role == k.Role) && (q.Covers == nil || q.Covers(k.Pod))
}

// Range bounds a number of sockets.
type Range struct {
	Least uint64 `json:"least"`
	Most  uint64 `json:"most"`
}

func (r *Range) add(least, most uint64) { r.Least, r.Most = r.Least+least, r.Most+most }

// String returns the number, or both bounds.
func (r Range) String() string {
	if r.Least == r.Most {
		return fmt.Sprint(r.Least)
	}
	return fmt.Sprintf("%d-%d", r.Least, r.Most)
}

// Outcome is what the patiences would have done to a group of sockets.
type Outcome struct {
	Sockets uint64 `json:"sockets"` // half-closed, with an owner
	// Destroyed is how many the grace would have destroyed. Wrong is how many of these moved a byte later. Its upper bound
	// includes Closed: sockets that closed later, perhaps after a last answer.
	Destroyed Range  `json:"destroyed"`
	Wrong     Range  `json:"wrong"`
	Closed    uint64 `json:"closed"`
	// Pending is how many were idle as long with unread or unacknowledged bytes: the grace would have kept them until
	// pendingGrace.
	Pending uint64 `json:"pending"`
	// Asked is how many peers would have been asked before the grace ended.
	Asked Range `json:"asked"`
}

// add adds the sockets of a key.
func (o *Outcome) add(q *Query, k *Key, c *Counts) {
	o.Sockets += c.Sockets
	if p := time.Duration(q.ProbeAfter); q.ProbeAfter != policy.Never && p > 0 && p < q.Grace {
		least, most := c.IdleLow.AtLeast(p), c.IdleHigh.MayReach(p)
		if k.Pending {
			least = 0 // unacknowledged bytes delay the question too
		}
		if k.End == PeerGone {
			most = max(most, c.Sockets) // its question came earlier
		}
		o.Asked.add(least, most)
	}
	if k.Pending {
		o.Pending += c.IdleHigh.MayReach(q.Grace)
		return
	}
	o.Destroyed.add(c.IdleLow.AtLeast(q.Grace), c.IdleHigh.MayReach(q.Grace))
	o.Wrong.add(c.MovedLow.AtLeast(q.Grace), c.MovedHigh.MayReach(q.Grace))
	if k.End == Closed {
		closed := c.IdleHigh.MayReach(q.Grace) - min(c.MovedHigh.MayReach(q.Grace), c.IdleHigh.MayReach(q.Grace))
		o.Wrong.Most += closed
		o.Closed += closed
	}
}

// PodOutcome is the Outcome of one pod.
type PodOutcome struct {
	Pod
	Outcome
}

// Answer is the Outcome of all selected sockets, and of each pod, the pods with the most destroys first.
type Answer struct {
	Total Outcome      `json:"total"`
	Pods  []PodOutcome `json:"pods"`
}

// Data is what a Store has for a time.
type Data struct {
	Hours  int       // with a file
	From   time.Time // the start of the first hour; zero if there is none
	AsOf   time.Time // when the last file was written
	Tables []Table   // ended sockets of each hour, and the living ones
}

// NewData returns the data of hours, as Store.Since returns them.
func NewData(hours []*Hour) *Data {
	d := &Data{Hours: len(hours)}
	for _, h := range hours {
		if d.From.IsZero() || h.Start.Before(d.From) {
			d.From = h.Start
		}
		if h.Written.After(d.AsOf) {
			d.AsOf = h.Written
		}
		d.Tables = append(d.Tables, h.Ended, h.Living)
	}
	return d
}

// selected has the selected keys of all tables with their counts.
type selected []keyCounts

type keyCounts struct {
	key    Key
	counts *Counts
}

func (d *Data) selected(q *Query) (s selected) {
	for _, t := range d.Tables {
		for k, c := range t {
			if q.selects(&k) {
				s = append(s, keyCounts{k, c})
			}
		}
	}
	return s
}

// Estimate returns the outcome of a query. See Limits for which graces it can estimate.
func (d *Data) Estimate(q *Query) Answer {
	pods := make(map[Pod]*Outcome)
	a := Answer{Pods: []PodOutcome{}}
	all := d.selected(q)
	for i := range all {
		k := &all[i].key
		o := pods[k.Pod]
		if o == nil {
			o = new(Outcome)
			pods[k.Pod] = o
		}
		o.add(q, k, all[i].counts)
	}
	a.Total = all.total(q)
	for pod, o := range pods {
		a.Pods = append(a.Pods, PodOutcome{pod, *o})
	}
	slices.SortFunc(a.Pods, func(a, b PodOutcome) int {
		if a.Destroyed.Most != b.Destroyed.Most {
			if a.Destroyed.Most > b.Destroyed.Most {
				return -1
			}
			return 1
		}
		return compareKeys(Key{Pod: a.Pod}, Key{Pod: b.Pod})
	})
	return a
}

func (s selected) total(q *Query) (o Outcome) {
	for i := range s {
		o.add(q, &s[i].key, s[i].counts)
	}
	return o
}

// Limits are the graces that the data can estimate for a query.
type Limits struct {
	// Distance is the longest time between two looks at a socket, except for a tenth of the sockets that were idle long enough to
	// matter. A grace under twice of it cannot be estimated.
	Distance time.Duration `json:"distance"`
	// Grace is the shortest grace in force, and GracePod a pod with it; 0 if none was. A longer grace cannot be estimated.
	Grace    time.Duration `json:"grace"`
	GracePod Pod           `json:"-"`
}

// Limits returns the limits for a query. Its Grace may be 0.
func (d *Data) Limits(q *Query) Limits { return d.selected(q).limits(q.Grace) }

func (s selected) limits(grace time.Duration) (l Limits) {
	type group struct {
		distance time.Duration
		sockets  uint64
	}
	var groups []group
	var all uint64
	for i := range s {
		k, c := &s[i].key, s[i].counts
		if c.Grace > 0 && (l.Grace == 0 || c.Grace < l.Grace || c.Grace == l.Grace && compareKeys(Key{Pod: k.Pod}, Key{Pod: l.GracePod}) < 0) {
			l.Grace, l.GracePod = c.Grace, k.Pod
		}
		if n := c.IdleHigh.MayReach(max(grace, Shortest)); n > 0 {
			groups = append(groups, group{c.Distance, n})
			all += n
		}
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(b.distance, a.distance) })
	// A single pause of the reaper must not spoil a week: the bounds include it.
	left := all / 10
	for _, g := range groups {
		l.Distance = g.distance
		if g.sockets > left {
			break
		}
		left -= g.sockets
	}
	return l
}

// TooShort reports whether looks were too far apart for a grace.
func (l *Limits) TooShort(grace time.Duration) bool { return grace < 2*l.Distance }

// TooLong reports whether sockets were destroyed before the grace.
func (l *Limits) TooLong(grace time.Duration) bool { return l.Grace > 0 && grace > l.Grace }

// Suggestion is the shortest grace without a wrong destroy, even at most.
type Suggestion struct {
	Grace time.Duration // 0 if there is none
	// IgnoringClosed is the shortest one without Outcome.Closed: if no answer was sent just before a close.
	IgnoringClosed time.Duration
	Tried          []Trial // every grace that could be estimated, up to Grace
	Limits         Limits  // of the shortest grace that could be estimated; of Shortest if none could
}

// Trial is the outcome of one grace.
type Trial struct {
	Grace time.Duration
	Outcome
}

// Suggest tries the graces of Graces.
func (d *Data) Suggest(q Query) (s Suggestion) {
	all := d.selected(&q)
	for _, q.Grace = range edges {
		l := all.limits(q.Grace)
		isOutside := l.TooShort(q.Grace) || l.TooLong(q.Grace)
		if q.Grace == Shortest || len(s.Tried) == 0 && !isOutside {
			s.Limits = l
		}
		if isOutside {
			continue
		}
		total := all.total(&q)
		s.Tried = append(s.Tried, Trial{q.Grace, total})
		if s.IgnoringClosed == 0 && total.Wrong.Most == total.Closed {
			s.IgnoringClosed = q.Grace
		}
		if total.Wrong.Most == 0 {
			s.Grace = q.Grace
			return s
		}
	}
	return s
}
