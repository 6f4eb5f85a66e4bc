// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"math"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// Look is what the kernel said of one socket at one moment.
type Look struct {
	// At is when the kernel looked, or shortly after. Asked is before it looked, zero where At is near enough:
	// between the two the process may have been kept waiting for the processor.
	At, Asked monotime.Time
	Socket    *inetdiag.Socket
	// Entered is when the socket became half-closed, where the finder saw it happen and took the socket's
	// counters at that very moment. Zero where it did not: then the socket may have moved bytes, or been
	// accepted, shortly before this look.
	Entered monotime.Time
	// Role is that of the owner, where the finder knows it.
	Role Role
}

// Counters are the four byte counts whose change is progress. None of them moves by keepalives,
// retransmissions or zero-window probes, as tcp_info's bytes_sent and last_data_sent do.
type Counters struct {
	Acked    uint64 // by the peer: bytes_acked
	Received uint64 // from the peer: bytes_received, without the FIN
	Written  uint64 // by the owner: acknowledged or still queued
	Read     uint64 // by the owner, a FIN that it read left out
}

// another reports whether c cannot be a later count of d's connection in state st. What a peer that has
// sent its FIN has sent, and what a peer that has acknowledged ours has acknowledged, is final; neither count
// ever shrinks. The other two are sums with a queue that the kernel reads a moment earlier, so they may.
func (c Counters) another(d Counters, st inetdiag.State) bool {
	switch {
	case c.Acked < d.Acked, c.Received < d.Received:
		return true
	case st == inetdiag.CloseWait:
		return c.Received != d.Received
	}
	return c.Acked != d.Acked
}

func countersOf(s *inetdiag.Socket) Counters {
	received := s.Info.BytesReceived
	if s.State == inetdiag.CloseWait && received > 0 {
		received-- // the FIN counts 1
	}
	return Counters{
		Acked:    s.Info.BytesAcked,
		Received: received,
		Written:  s.Info.BytesAcked + uint64(s.WQueue),
		Read:     received - min(received, uint64(Unread(s))),
	}
}

// Unread returns how many bytes of data the owner of a half-closed socket has not read. In CLOSE_WAIT the
// peer's FIN counts 1 in the receive queue until it is read, and is no data.
func Unread(s *inetdiag.Socket) uint32 {
	if s.State == inetdiag.CloseWait {
		return max(s.RQueue, 1) - 1
	}
	return s.RQueue
}

// History is what is remembered of one half-closed socket: all that earlier looks established.
type History struct {
	ID    inetdiag.ID
	State inetdiag.State
	Role  Role
	Owned bool // by a process, at the last look
	// Asks is how many questions its peer was asked in this idle time, AllAsks since Since. They stand here for their
	// size: there may be
	// 500,000 histories.
	Asks, AllAsks uint8 // prose:ok: counts of questions

	// Since is when it became half-closed, or the earliest moment that can be proven.
	Since monotime.Time
	// Start is when its idle time starts at the earliest: when it became half-closed, where that was seen, else
	// the first look, since what its owner did before is not known.
	Start monotime.Time
	// Progress is the look at which a byte was last found to have moved or been read; zero if none was.
	Progress monotime.Time
	// Last is the last look.
	Last monotime.Time

	// Frozen is for how long all its owners have been frozen or stopped since Since, FrozenIdle how much of that
	// fell into the present idle time. Neither counts as idle. AddFrozen changes both.
	Frozen, FrozenIdle time.Duration
	// Asked is when its peer was last asked, or could not be; zero if it never was. PeerAlive is when its peer last
	// answered a question in this idle time; zero if it has not.
	Asked, PeerAlive monotime.Time

	Counters Counters
	SegsIn   uint32
}

// AddFrozen notes that all owners were frozen or stopped for this time.
func (h *History) AddFrozen(d time.Duration) {
	if d > 0 {
		h.Frozen += d
		h.FrozenIdle += d
	}
}

// AddQuestion notes that the peer was asked, or could not be.
func (h *History) AddQuestion(at monotime.Time) {
	h.Asks += min(1, math.MaxUint8-h.Asks)
	h.AllAsks += min(1, math.MaxUint8-h.AllAsks)
	h.Asked = at
}

// IdleStart returns when the socket's idle time starts by a clock, the time added in which it could not act.
func (h *History) IdleStart(c Clock) monotime.Time {
	if c == ClockState {
		return h.Since.Add(h.Frozen)
	}
	// Start is never before Since; an inconsistent history must not make the progress clock the earlier one.
	return max(max(h.Start, h.Progress).Add(h.FrozenIdle), h.Since.Add(h.Frozen))
}

// Follow returns the history as it is after a look. prev is nil at the first look; a look that shows
// another connection than prev's (the same socket may be reconnected under its cookie) starts afresh.
func Follow(prev *History, look Look) History {
	s := look.Socket
	next := History{
		ID: s.ID, State: s.State, Role: look.Role, Owned: s.Inode != 0,
		Start: look.At, Last: look.At,
		Counters: countersOf(s), SegsIn: s.Info.SegsIn,
	}
	switch {
	case !look.Entered.IsZero():
		next.Since, next.Start = look.Entered, look.Entered
	case s.HasInfo:
		// The segment that half-closed the connection was an acknowledgement too, so it became half-closed
		// no later than when the last one came. Time does not begin before boot.
		next.Since = max(look.At.Add(-s.Info.LastAckRecv), 1)
	default:
		next.Since = look.At
	}
	if prev == nil || prev.Last.Before(look.Entered) || next.anotherConnection(prev, look) {
		return next
	}
	next.Start, next.Since, next.Progress = prev.Start, prev.Since, prev.Progress
	next.Frozen, next.FrozenIdle = prev.Frozen, prev.FrozenIdle
	next.Asks, next.AllAsks, next.Asked, next.PeerAlive = prev.Asks, prev.AllAsks, prev.Asked, prev.PeerAlive
	if prev.Role != RoleUnknown {
		next.Role = prev.Role // decided once: the listener that proved it may be gone
	}
	if !look.Entered.IsZero() {
		next.Since = min(next.Since, look.Entered)
	}
	if next.Owned && !prev.Owned {
		// It was just taken from the listener's queue: its owner's time begins now.
		next.Since, next.Start = look.At, look.At
		next.Frozen, next.AllAsks = 0, 0
		next.restart()
	}
	if next.Counters != prev.Counters {
		next.Progress = look.At
		next.restart()
	}
	return next
}

// restart begins a new idle time.
func (h *History) restart() { h.FrozenIdle, h.Asks, h.PeerAlive = 0, 0, 0 }

// slack covers the tick of the kernel's clock, and a segment that was being processed during the earlier
// look.
const slack = 50 * time.Millisecond

// anotherConnection reports whether h cannot be a later look at prev's connection. Being wrong here only
// gives a socket more time.
func (h History) anotherConnection(prev *History, look Look) bool {
	s, asked := look.Socket, cmp.Or(look.Asked, look.At)
	since := func(ago time.Duration) bool { return s.HasInfo && prev.Last.Add(slack).Before(asked.Add(-ago)) }
	switch {
	case h.ID != prev.ID, h.State != prev.State, h.Counters.another(prev.Counters, h.State), h.SegsIn < prev.SegsIn:
		return true
	case h.SegsIn != 0 && h.SegsIn == prev.SegsIn && since(s.Info.LastAckRecv):
		return true // an acknowledgement came after the earlier look, and yet no segment did
	case h.Counters.Received == prev.Counters.Received && since(s.Info.LastDataRecv):
		return true // so did data, or the beginning of a connection, and yet no byte did
	}
	return false
}
