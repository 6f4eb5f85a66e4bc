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

// Look is the kernel's answer about one socket at one moment.
type Look struct {
	// At is the time of the answer, or shortly after it. Asked is before it, for a process that may have waited for a CPU in
	// between; zero if At is accurate.
	At, Asked monotime.Time
	Socket    *inetdiag.Socket
	// Entered is when the socket became half-closed, if the finder recorded its counters at that moment. If it is zero, the
	// socket may have moved bytes, or been accepted, shortly before this look.
	Entered monotime.Time
	// Role is RoleUnknown if the finder does not know it.
	Role Role
}

// Counters are the four byte counts whose change is progress. Keepalives, retransmissions and zero-window probes change
// none of them, unlike tcp_info's bytes_sent and last_data_sent.
type Counters struct {
	Acked    uint64 // by the peer: bytes_acked
	Received uint64 // from the peer: bytes_received, without the FIN
	Written  uint64 // by the owner: acknowledged or still queued
	Read     uint64 // by the owner, without the FIN
}

// isOfAnother reports whether c cannot be later counters of d's connection in state st. Acked and Received never shrink;
// after the peer's FIN Received is final, and after the acknowledgement of ours Acked is. The other two include a queue
// length, which the kernel reads a moment earlier, so they may shrink.
func (c Counters) isOfAnother(d Counters, st inetdiag.State) bool {
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

// Unread returns how many bytes of data the owner of a half-closed socket has not read. In CLOSE_WAIT the peer's FIN, which
// is not data, counts 1 in the receive queue until it is read.
func Unread(s *inetdiag.Socket) uint32 {
	if s.State == inetdiag.CloseWait {
		return max(s.RQueue, 1) - 1
	}
	return s.RQueue
}

// History summarizes all looks at one half-closed socket.
type History struct {
	ID    inetdiag.ID
	State inetdiag.State
	Role  Role
	Owned bool // by a process, at the last look
	// Asks is the number of questions to its peer in this idle time, AllAsks since Since. Their place saves padding: there may
	// be 500,000 histories.
	Asks, AllAsks uint8 // prose:ok: counts of questions

	// Since is when it became half-closed, or the earliest time that can be proven.
	Since monotime.Time
	// Start is the earliest start of its idle time: when it became half-closed if that was seen, otherwise the first look,
	// since its owner's actions before are unknown.
	Start monotime.Time
	// Progress is the time of the last look that found a byte moved or read; zero if none did.
	Progress monotime.Time
	// Last is the time of the last look.
	Last monotime.Time

	// Frozen is the time since Since for which all its owners were frozen or stopped, FrozenIdle the part of it in the
	// current idle time. Neither counts as idle. AddFrozen changes both.
	Frozen, FrozenIdle time.Duration
	// Asked is when its peer was last asked, or should have been and could not be; zero if never. PeerAlive is when its peer
	// last answered in this idle time; zero if it has not.
	Asked, PeerAlive monotime.Time

	Counters Counters
	SegsIn   uint32
}

// AddFrozen records that all owners were frozen or stopped for a time.
func (h *History) AddFrozen(d time.Duration) {
	if d > 0 {
		h.Frozen += d
		h.FrozenIdle += d
	}
}

// AddFrozenBefore records the same of a time before the last progress: only the clock "state" starts later by it.
func (h *History) AddFrozenBefore(d time.Duration) { h.Frozen += max(d, 0) }

// AddQuestion records that the peer was asked, or could not be.
func (h *History) AddQuestion(at monotime.Time) {
	h.Asks += min(1, math.MaxUint8-h.Asks)
	h.AllAsks += min(1, math.MaxUint8-h.AllAsks)
	h.Asked = at
}

// IdleStart returns the start of the socket's idle time by a clock, later by the time for which its owners were frozen.
func (h *History) IdleStart(c Clock) monotime.Time {
	if c == ClockState {
		return h.Since.Add(h.Frozen)
	}
	// In a valid history Start is not before Since. In any other the progress clock must not be the less conservative one.
	return max(max(h.Start, h.Progress).Add(h.FrozenIdle), h.Since.Add(h.Frozen))
}

// NextRareLook returns the time of the next look that only notices progress, a thaw, or that the other end is gone: after a quarter
// of the idle time, from a second to ten minutes.
func (h *History) NextRareLook(now monotime.Time) monotime.Time {
	return now.Add(min(max(now.Sub(h.IdleStart(ClockProgress))/4, time.Second), 10*time.Minute))
}

// Follow returns the history after a look. prev is nil at the first look. If the look shows another connection than prev
// (a socket can be connected again, with the same cookie), a new history begins.
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
		// The segment that half-closed the connection was also an acknowledgement, so the half-close is not later than the
		// last acknowledgement. No time is before boot.
		next.Since = max(look.At.Add(-s.Info.LastAckRecv), 1)
	default:
		next.Since = look.At
	}
	if prev == nil || prev.Last.Before(look.Entered) || next.isOfAnother(prev, look) {
		return next
	}
	next.Start, next.Since, next.Progress = prev.Start, prev.Since, prev.Progress
	next.Frozen, next.FrozenIdle = prev.Frozen, prev.FrozenIdle
	next.Asks, next.AllAsks, next.Asked, next.PeerAlive = prev.Asks, prev.AllAsks, prev.Asked, prev.PeerAlive
	if prev.Role != RoleUnknown {
		next.Role = prev.Role // decided once: the listener that proved it may be closed
	}
	if !look.Entered.IsZero() {
		next.Since = min(next.Since, look.Entered)
	}
	if next.Owned && !prev.Owned {
		// It was accepted since the last look: its owner's time starts now.
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

// restart starts a new idle time.
func (h *History) restart() { h.FrozenIdle, h.Asks, h.PeerAlive = 0, 0, 0 }

// timestampError bounds the error of the times in tcp_info: a tick of the kernel's clock, and a segment that was being
// processed during the earlier look.
const timestampError = 50 * time.Millisecond

// isOfAnother reports whether h cannot be a later look at prev's connection. If it is wrong, the socket only gets more time.
func (h History) isOfAnother(prev *History, look Look) bool {
	s, asked := look.Socket, cmp.Or(look.Asked, look.At)
	since := func(ago time.Duration) bool {
		return s.HasInfo && prev.Last.Add(timestampError).Before(asked.Add(-ago))
	}
	switch {
	case h.ID != prev.ID, h.State != prev.State, h.Counters.isOfAnother(prev.Counters, h.State), h.SegsIn < prev.SegsIn:
		return true
	case h.SegsIn != 0 && h.SegsIn == prev.SegsIn && since(s.Info.LastAckRecv):
		return true // an acknowledgement has arrived since the earlier look, but no segment
	case h.Counters.Received == prev.Counters.Received && since(s.Info.LastDataRecv):
		return true // data, or a handshake, has arrived since, but no byte
	}
	return false
}
