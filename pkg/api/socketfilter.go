// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/owners"
)

// SocketFilter selects sockets by address, age and owner. Its zero value selects all.
type SocketFilter struct {
	Peer PeerMatch
	// Address selects by the address of either end.
	Address PeerMatch
	// Port selects by either port, LocalPort and PeerPort by one of them; 0 selects all.
	Port, LocalPort, PeerPort uint16
	// OlderThan selects the sockets that have been half-closed for at least this time.
	OlderThan time.Duration
	// Owner selects the sockets that a process with this pid or command holds.
	Owner string
}

// IsZero reports whether the filter selects all.
func (f SocketFilter) IsZero() bool { return f == SocketFilter{} }

// SelectsEnds reports whether the filter selects a socket by its addresses.
func (f *SocketFilter) SelectsEnds(local, peer netip.AddrPort) bool {
	return (f.LocalPort == 0 || f.LocalPort == local.Port()) && (f.PeerPort == 0 || f.PeerPort == peer.Port()) &&
		(f.Port == 0 || f.Port == local.Port() || f.Port == peer.Port()) && f.Peer.Matches(peer) && (f.Address.Matches(local) || f.Address.Matches(peer))
}

// SelectsOwner reports whether the filter selects a socket by the processes that hold it.
func (f *SocketFilter) SelectsOwner(list []owners.Process) bool {
	return f.Owner == "" || slices.ContainsFunc(list, func(p owners.Process) bool {
		return p.Command == f.Owner || strconv.Itoa(p.PID) == f.Owner
	})
}

// selects reports whether the filter selects a view, apart from its owners.
func (f *SocketFilter) selects(v *SocketView) bool {
	if f.OlderThan > 0 && (v.Age == nil || time.Duration(*v.Age) < f.OlderThan) {
		return false
	}
	if f.Peer.IsZero() && f.Address.IsZero() && f.Port == 0 && f.LocalPort == 0 && f.PeerPort == 0 {
		return true
	}
	local, err := netip.ParseAddrPort(v.Local)
	if err != nil {
		return false
	}
	peer, err := netip.ParseAddrPort(v.Peer)
	return err == nil && f.SelectsEnds(local, peer)
}

// PeerMatch selects sockets by the address of the peer. Its zero value selects all. It is comparable.
type PeerMatch struct {
	addrs netip.Prefix
	port  uint16 // 0: any
}

// ParsePeer parses an address, a range in CIDR notation, or an address with a port, such as 10.0.0.7, 10.0.0.0/8, 10.0.0.7:443
// and [fd00::7]:443.
func ParsePeer(text string) (PeerMatch, error) {
	wrong := fmt.Errorf("want an address such as 10.0.0.7, a range such as 10.0.0.0/8, or an address with a port such as 10.0.0.7:443 or [fd00::7]:443, not %q", text)
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return PeerMatch{}, wrong
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return PeerMatch{addrs: p.Masked()}, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		if ap.Port() == 0 || ap.Addr().Zone() != "" {
			return PeerMatch{}, wrong
		}
		return PeerMatch{single(ap.Addr()), ap.Port()}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return PeerMatch{}, wrong
	}
	return PeerMatch{addrs: single(a)}, nil
}

// single returns the prefix of one address.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

// IsZero reports whether it selects all.
func (m PeerMatch) IsZero() bool { return m == PeerMatch{} }

// Equal reports whether both select the same.
func (m PeerMatch) Equal(other PeerMatch) bool { return m == other }

// Matches reports whether it selects a peer.
func (m PeerMatch) Matches(peer netip.AddrPort) bool {
	if m.IsZero() {
		return true
	}
	return m.addrs.Contains(peer.Addr().Unmap().WithZone("")) && (m.port == 0 || m.port == peer.Port())
}

// String returns the text that ParsePeer parses; "" for the zero value.
func (m PeerMatch) String() string {
	switch {
	case m.IsZero():
		return ""
	case m.port != 0:
		return netip.AddrPortFrom(m.addrs.Addr(), m.port).String()
	case m.addrs.IsSingleIP():
		return m.addrs.Addr().String()
	}
	return m.addrs.String()
}

// ParseOwner checks a value of SocketFilter.Owner: a pid or a command, which has at most 15 bytes.
func ParseOwner(text string) (string, error) {
	const maxCommand = 15
	if text == "" || len(text) > maxCommand || strings.ContainsRune(text, 0) {
		return "", fmt.Errorf("want a pid or the name of a command, which has 1 to %d bytes, not %q", maxCommand, text)
	}
	return text, nil
}
