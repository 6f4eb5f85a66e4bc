// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const peersExample = `networks or addresses in a string such as "10.0.0.0/8,192.0.2.7"`

// mappedBits is the number of bits before the IPv4 address in a v4-mapped one (RFC 4291, section 2.5.5.2).
const mappedBits = 96

func joinPeers(peers []netip.Prefix) string {
	parts := make([]string, len(peers))
	for i, p := range peers {
		if p.IsSingleIP() {
			parts[i] = p.Addr().String()
			continue
		}
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

// canonicalPeers returns the networks masked, sorted and without duplicates.
func canonicalPeers(peers []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range peers {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// peers reads networks from JSON.
func (c *collector) peers(path string, raw json.RawMessage) []netip.Prefix {
	text, ok := c.text(path, raw, peersExample)
	if !ok {
		return nil
	}
	items := strings.Split(text, ",")
	if len(items) > maxRanges {
		c.addf(path, "%d networks, at most %d are allowed", len(items), maxRanges)
		items = items[:maxRanges] // the others are ignored
	}
	var peers []netip.Prefix
	for _, item := range items {
		p, err := parsePeer(strings.TrimSpace(item))
		if err != nil {
			c.add(path, err)
			continue
		}
		peers = append(peers, p)
	}
	return canonicalPeers(peers)
}

// parsePeer parses a network or a single address. It converts a v4-mapped one to IPv4.
func parsePeer(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, fmt.Errorf("a network is missing: want %s", peersExample)
	}
	addr, bits, err := splitPeer(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if addr.Is4In6() {
		if bits < mappedBits {
			return netip.Prefix{}, fmt.Errorf("%s is wider than all of IPv4: write \"0.0.0.0/0\" or an IPv6 network", quote(s))
		}
		addr, bits = addr.Unmap(), bits-mappedBits
	}
	p := netip.PrefixFrom(addr, bits)
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has bits set beyond its length: write %q, or %q for the one address",
			quote(s), p.Masked(), p.Addr())
	}
	return p, nil
}

func splitPeer(s string) (addr netip.Addr, bits int, err error) {
	if !strings.Contains(s, "/") {
		addr, err = netip.ParseAddr(s)
		if err != nil {
			return addr, 0, fmt.Errorf("%s is not an address: want %s", quote(s), peersExample)
		}
		if addr.Zone() != "" {
			return addr, 0, fmt.Errorf("%s has a zone: write %q", quote(s), addr.WithZone(""))
		}
		return addr, addr.BitLen(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return addr, 0, fmt.Errorf("%s is not a network: want %s", quote(s), peersExample)
	}
	return p.Addr(), p.Bits(), nil
}
