// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// End is one end of a connection, with the fields that identify the other end.
type End struct {
	Netns    uint64 // cookie
	ID       inetdiag.ID
	State    inetdiag.State
	Counters Counters
}

// EndKey is a key for an index of ends.
type EndKey struct {
	netns       uint64 // 0 unless the addresses are valid in one netns only
	local, peer netip.AddrPort
}

// Key returns the key of the end.
func (e *End) Key() EndKey { return newEndKey(e.Netns, e.ID.Local(), e.ID.Peer()) }

// OtherKey returns the key of the other end of the connection.
func (e *End) OtherKey() EndKey { return newEndKey(e.Netns, e.ID.Peer(), e.ID.Local()) }

func newEndKey(netns uint64, local, peer netip.AddrPort) EndKey {
	local, peer = plainAddr(local), plainAddr(peer)
	if !isLocalToNetns(local.Addr()) && !isLocalToNetns(peer.Addr()) {
		netns = 0
	}
	return EndKey{netns: netns, local: local, peer: peer}
}

// plainAddr returns the address as it is on the wire: without a zone, and IPv4 instead of v4-mapped.
func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// isLocalToNetns reports whether several netns may have the address.
func isLocalToNetns(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() }

// AreTwoEnds reports whether a and b are the two ends of one connection: local and peer addresses and ports are exchanged,
// loopback and link-local ones are in the same netns, and each end has received the bytes that the other has been
// acknowledged, within one. It does not recognize connections through a NAT. The counts keep a pod from passing off a
// connection of its own as the other end; the caller must also make sure that there is no second candidate.
func AreTwoEnds(a, b *End) bool {
	return a.OtherKey() == b.Key() &&
		(a.State == inetdiag.CloseWait && b.State == inetdiag.FinWait2 || a.State == inetdiag.FinWait2 && b.State == inetdiag.CloseWait) &&
		within1(a.sent(), b.Counters.Received) && within1(b.sent(), a.Counters.Received)
}

// sent returns how many bytes of data the peer has acknowledged, without the FIN. It is one too many for the end that opened
// the connection, since bytes_acked counts its SYN.
func (e *End) sent() uint64 {
	if e.State == inetdiag.FinWait2 {
		return e.Counters.Acked - min(e.Counters.Acked, 1)
	}
	return e.Counters.Acked
}

func within1(a, b uint64) bool { return max(a, b)-min(a, b) <= 1 }

// SparedBy returns the verdict on a socket after the standing of its other end. A standing reason spares this end too, from
// the destroy and from the question. Again is when the other end needs a look: it may be gone without a byte to this end.
func (v Verdict) SparedBy(other Standing, h *History, now monotime.Time) Verdict {
	if other == StandingNone || v.Act.orOff() == Off {
		return v
	}
	v.Reason, v.Other, v.Ask, v.NeedsOwners, v.Above = PeerSpared, other, false, false, nil
	v.AskAt, v.EndAt, v.Deadline, v.Again, v.Due = Forever, Forever, 0, 0, 0
	if other != StandingUnknown {
		v.Again = h.NextRareLook(now)
	}
	return v
}
