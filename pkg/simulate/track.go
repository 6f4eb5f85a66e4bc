// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Track has the idle periods of one half-closed socket, in 24 bytes: there may be 500,000. Its history has the current
// period's start.
type Track struct {
	// earliest is the earliest possible time of the current period's start: the look before the one that noticed progress.
	earliest monotime.Time
	grace    uint32 // the shortest in force, in milliseconds; 0: none was
	distance uint16 // the longest time between two looks, in tenths of a second, rounded up
	rule     uint8
	flags    flags
	ended    [2]bounds // of the ended periods: without and with pending bytes
}

type flags uint8

const (
	flagPending  flags = 1 << iota // bytes were unread or unacknowledged at the last look; constant within an idle period
	flagEligible                   // a grace applies to it
	flagCounted                    // its current period is in the counts already
	flagResumed                    // the next look is the first of this reaper
)

// bounds are the bounds of the longest ended idle period. Progress followed each.
type bounds struct{ low, high Bucket }

// Verdict is the part of a verdict that matters to a track.
type Verdict struct {
	Pending  bool          // bytes are unread or unacknowledged
	Eligible bool          // a grace applies: the socket has an owner, and neither an exemption nor the mode off spares it
	Rule     int           // the index of the rule that applies, plus 1; 0 for the values outside of any rule
	Grace    time.Duration // that is in force: the mode is destroy; 0 if none is
}

// Begin starts the track of a socket whose first look next is. unseen is when the socket was certainly not half-closed, or not
// its owner's, or zero if that is unknown.
func (t *Track) Begin(next *policy.History, unseen monotime.Time, v Verdict) {
	*t = Track{earliest: next.Start}
	t.Set(v)
	if next.Start == next.Last && !unseen.IsZero() { // otherwise the start was seen
		t.earliest = min(unseen, next.Start)
		before := next.Start.Sub(t.earliest)
		t.addDistance(before)
		t.ended[t.class()].high = bucketOf(before) // a byte may have moved before the look
	}
}

// Continue records another look at the socket.
func (t *Track) Continue(prev, next *policy.History) {
	if t.flags&flagResumed == 0 {
		t.addDistance(next.Last.Sub(prev.Last))
	}
	if next.Last != prev.Last {
		t.flags &^= flagResumed
	}
	if next.Progress == prev.Progress {
		return
	}
	low, high := t.period(prev, next.Last)
	of := &t.ended[t.class()]
	of.low, of.high = max(of.low, low), max(of.high, high)
	t.earliest = prev.Last
	t.flags &^= flagCounted
}

// Set records the verdict on the last look.
func (t *Track) Set(v Verdict) {
	t.rule = uint8(min(max(v.Rule, 0), math.MaxUint8))
	t.flags &^= flagPending | flagEligible
	if v.Pending {
		t.flags |= flagPending
	}
	if v.Eligible {
		t.flags |= flagEligible
	}
	if v.Grace > 0 {
		if ms := uint32(min(max(v.Grace.Milliseconds(), 1), math.MaxUint32)); t.grace == 0 || ms < t.grace {
			t.grace = ms
		}
	}
}

// SetCounted records that the track was added to the counts, as an unregistered socket. If it is registered again, its current
// period counts only if progress follows it.
func (t *Track) SetCounted() {
	t.flags |= flagCounted
	t.ended = [2]bounds{}
}

// Resume continues the track under another registration or reaper: the time without looks is no distance of looks.
func (t *Track) Resume() { t.flags |= flagResumed }

// period returns the bounds of the current period, which was not over at h.Last and is over at end.
func (t *Track) period(h *policy.History, end monotime.Time) (low, high Bucket) {
	start := max(h.Start, h.Progress)
	shortest := max(h.Last.Sub(start)-h.FrozenIdle, 0)
	return bucketOf(shortest), bucketOf(max(end.Sub(t.earliest), shortest))
}

func (t *Track) addDistance(d time.Duration) {
	tenths := (d + distanceUnit - 1) / distanceUnit
	t.distance = max(t.distance, uint16(min(max(tenths, 0), math.MaxUint16)))
}

const distanceUnit = 100 * time.Millisecond

func (t *Track) class() int { return int(t.flags & flagPending) }

// sample is what one socket adds to the Counts of one Key.
type sample struct {
	ends                bool // false: it has had such periods, but ended in the other class
	idle, moved         bounds
	distance, graceOver time.Duration
}

// samples returns what the socket adds without and with pending bytes, at a time when it has ended, or now.
func (t *Track) samples(h *policy.History, at monotime.Time) (both [2]sample) {
	last := *t
	if t.flags&flagResumed == 0 {
		last.addDistance(at.Sub(h.Last))
	}
	low, high := t.period(h, at)
	for i := range both {
		s := &both[i]
		s.idle, s.moved = t.ended[i], t.ended[i]
		s.distance, s.graceOver = time.Duration(last.distance)*distanceUnit, time.Duration(t.grace)*time.Millisecond
		if s.ends = i == t.class(); s.ends {
			s.idle.low, s.idle.high = max(s.idle.low, low), max(s.idle.high, high)
		}
	}
	return both
}

// TrackSize is the size of the output of AppendBinary.
const TrackSize = 20

// AppendBinary appends the track in native byte order. It returns no error.
func (t *Track) AppendBinary(b []byte) ([]byte, error) {
	order := binary.NativeEndian
	b = order.AppendUint64(b, uint64(t.earliest))
	b = order.AppendUint32(b, t.grace)
	b = order.AppendUint16(b, t.distance)
	return append(b, t.rule, uint8(t.flags),
		uint8(t.ended[0].low), uint8(t.ended[0].high), uint8(t.ended[1].low), uint8(t.ended[1].high)), nil
}

var errTrack = errors.New("impossible idle periods")

// UnmarshalBinary parses the output of AppendBinary.
func (t *Track) UnmarshalBinary(b []byte) error {
	if len(b) != TrackSize {
		return errTrack
	}
	order := binary.NativeEndian
	r := Track{earliest: monotime.Time(order.Uint64(b)), grace: order.Uint32(b[8:]), distance: order.Uint16(b[12:]), rule: b[14], flags: flags(b[15])}
	for i := range r.ended {
		r.ended[i] = bounds{Bucket(b[16+2*i]), Bucket(b[17+2*i])}
		if !r.ended[i].high.isValid() || r.ended[i].low > r.ended[i].high {
			return errTrack
		}
	}
	if r.earliest < 0 {
		return errTrack
	}
	*t = r
	return nil
}
