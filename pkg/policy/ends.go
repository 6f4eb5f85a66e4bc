// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// End is one end of a connection, as far as finding the other one needs it.
type End struct {
	Netns    uint64 // cookie
	ID       inetdiag.ID
	State    inetdiag.State
	Counters Counters
}

// EndKey is what an end is looked for by among all known ones.
type EndKey struct {
	netns       uint64 // 0 for addresses that are unique beyond a netns
	local, peer netip.AddrPort
}

// Key returns the key that the end is found by.
func (e *End) Key() EndKey { return newEndKey(e.Netns, e.ID.Local(), e.ID.Peer()) }

// OtherKey returns the key that the other end of the connection is found by.
func (e *End) OtherKey() EndKey { return newEndKey(e.Netns, e.ID.Peer(), e.ID.Local()) }

func newEndKey(netns uint64, local, peer netip.AddrPort) EndKey {
	local, peer = plainAddr(local), plainAddr(peer)
	if !isLocalToNetns(local.Addr()) && !isLocalToNetns(peer.Addr()) {
		netns = 0
	}
	return EndKey{netns: netns, local: local, peer: peer}
}

// plainAddr is the address as it is on the wire.
func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// isLocalToNetns reports whether each netns may have the address.
func isLocalToNetns(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() }

// AreTwoEnds reports whether a and b are the two ends of one connection: their addresses and ports are the same the other
// way round, in one netns if they are loopback or link-local ones, and each has received what the other has been acknowledged,
// within one byte. A NAT between them hides it. The counts keep a pod from passing off a connection of its own as the other
// end: the caller must also have found no second candidate.
func AreTwoEnds(a, b *End) bool {
	return a.OtherKey() == b.Key() &&
		(a.State == inetdiag.CloseWait && b.State == inetdiag.FinWait2 || a.State == inetdiag.FinWait2 && b.State == inetdiag.CloseWait) &&
		within1(a.sent(), b.Counters.Received) && within1(b.sent(), a.Counters.Received)
}

// sent returns how many bytes of data the peer has acknowledged, or one more: bytes_acked counts the SYN of the end that
// opened the connection, and not that of the other. The FIN is left out.
func (e *End) sent() uint64 {
	if e.State == inetdiag.FinWait2 {
		return e.Counters.Acked - min(e.Counters.Acked, 1)
	}
	return e.Counters.Acked
}

func within1(a, b uint64) bool { return max(a, b)-min(a, b) <= 1 }

// SparedBy returns the verdict on a socket whose other end is known and stands as it does: a standing reason spares this end
// too, from the destroy and from the question.
func (v Verdict) SparedBy(other Standing) Verdict {
	if other == StandingNone || v.Act.orOff() == Off {
		return v
	}
	v.Reason, v.Other, v.Ask, v.NeedsOwners, v.Above = PeerSpared, other, false, false, nil
	v.AskAt, v.EndAt, v.Deadline, v.Again = Forever, Forever, 0, 0
	return v
}
