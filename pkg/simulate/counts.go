// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// End is how a half-closed socket ended.
type End string

// The ends.
const (
	// Closed between two looks, by its owner or its peer: its last bytes are unknown.
	Closed End = "closed"
	// Orphaned: closed by its owner, and looked at afterwards.
	Orphaned  End = "orphaned"
	Destroyed End = "destroyed"
	PeerGone  End = "peer-gone"
	// Unregistered: the pod was deleted, or its attachment removed.
	Unregistered End = "unregistered"
	// NetnsGone: its network namespace was deleted.
	NetnsGone End = "netns-gone"
	// Living has not ended yet.
	Living End = "living"
)

// Ends lists all ends.
func Ends() []End {
	return []End{Closed, Orphaned, Destroyed, PeerGone, Unregistered, NetnsGone, Living}
}

// Pod is the pod of a socket. Container is set where there is no pod name.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	// Other stands for all pods over a limit.
	Other bool `json:"other,omitempty"`
}

// Key is a group of sockets that are counted together.
type Key struct {
	Pod
	State inetdiag.State `json:"state"`
	Role  policy.Role    `json:"role"`
	// Rule is the index of the rule that applies, plus 1; 0 for the values outside of any rule.
	Rule int `json:"rule,omitempty"`
	// Pending periods have unread or unacknowledged bytes: pendingGrace applies to them. A socket may have periods of both kinds.
	Pending bool `json:"pending,omitempty"`
	End     End  `json:"end"`
}

func compareKeys(a, b Key) int {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container, b.Container), cmp.Compare(flag(a.Other), flag(b.Other)),
		cmp.Compare(a.State, b.State), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Rule, b.Rule), cmp.Compare(flag(a.Pending), flag(b.Pending)),
		cmp.Compare(a.End, b.End))
}

// Counts summarizes the sockets of a key. Each histogram has the longest idle period of each socket.
type Counts struct {
	// Sockets is how many ended. A socket that had such periods, but not at its end, is in the histograms alone.
	Sockets uint64 `json:"sockets"`
	// IdleLow and IdleHigh have the bounds of the longest period, MovedLow and MovedHigh those of the longest one that a byte
	// followed.
	IdleLow   Histogram `json:"idleLow,omitzero"`
	IdleHigh  Histogram `json:"idleHigh,omitzero"`
	MovedLow  Histogram `json:"movedLow,omitzero"`
	MovedHigh Histogram `json:"movedHigh,omitzero"`
	// Distance is the longest time between two looks at one of them, Grace the shortest grace in force, 0 if none was.
	Distance time.Duration `json:"distance,omitempty"`
	Grace    time.Duration `json:"grace,omitempty"`
}

func (c *Counts) add(s *sample) {
	if s.ends {
		c.Sockets++
	}
	c.IdleLow.add(s.idle.low, 1)
	c.IdleHigh.add(s.idle.high, 1)
	c.MovedLow.add(s.moved.low, 1)
	c.MovedHigh.add(s.moved.high, 1)
	c.widen(s.distance, s.graceOver)
}

func (c *Counts) widen(distance, grace time.Duration) {
	c.Distance = max(c.Distance, distance)
	if grace > 0 && (c.Grace == 0 || grace < c.Grace) {
		c.Grace = grace
	}
}

// Merge adds other counts. It is associative and commutative.
func (c *Counts) Merge(o *Counts) {
	c.Sockets += o.Sockets
	c.IdleLow.merge(o.IdleLow)
	c.IdleHigh.merge(o.IdleHigh)
	c.MovedLow.merge(o.MovedLow)
	c.MovedHigh.merge(o.MovedHigh)
	c.widen(o.Distance, o.Grace)
}

// Table has the counts by key.
type Table map[Key]*Counts

// MaxKeys bounds a Table, except for the keys with Pod.Other: in a cluster with a high turnover of pods there are many.
const MaxKeys = 2000

// counts returns the counts to change for a key.
func (t Table) counts(k Key) *Counts {
	if c := t[k]; c != nil {
		return c
	}
	if len(t) >= MaxKeys {
		k.Pod, k.Rule = Pod{Other: true}, 0
		if c := t[k]; c != nil {
			return c
		}
	}
	c := new(Counts)
	t[k] = c
	return c
}

// Merge adds other counts.
func (t Table) Merge(o Table) {
	for k, c := range o {
		t.counts(k).Merge(c)
	}
}

// Add adds a socket that has ended, or is living at the time. It ignores a socket to which no grace applies.
func (t Table) Add(pod Pod, h *policy.History, track *Track, end End, at monotime.Time) {
	if track.flags&flagEligible == 0 || !h.Owned || track.flags&flagCounted != 0 {
		return
	}
	k := Key{Pod: pod, State: h.State, Role: h.Role, Rule: int(track.rule), End: end}
	samples := track.samples(h, at)
	for i := range samples {
		s := &samples[i]
		if !s.ends && s.idle == (bounds{}) {
			continue
		}
		k.Pending = i == 1
		t.counts(k).add(s)
	}
}

// sorted returns the keys in a fixed order.
func (t Table) sorted() []Key {
	keys := make([]Key, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// check returns an error for a key or counts that no reaper writes.
func check(k *Key, c *Counts) error {
	switch {
	case !slices.Contains(Ends(), k.End):
		return fmt.Errorf("unknown end %q", k.End)
	case !k.State.HalfClosed():
		return fmt.Errorf("state %v is not half-closed", k.State)
	case k.Rule < 0, c.Sockets > maxCount, c.Distance < 0, c.Grace < 0:
		return fmt.Errorf("impossible counts")
	}
	return nil
}
