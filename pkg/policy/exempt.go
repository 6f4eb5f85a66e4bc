// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// How much one list may hold. A record may hold twice the exemptions: its network's and its pod's.
const (
	maxExempt       = 64
	maxExemptRecord = 2 * maxExempt
	maxRanges       = 16
)

// Exemption is a description of sockets that are never touched: those that match every field that is set.
type Exemption struct {
	LocalPorts, PeerPorts Ports
	// Peers are networks of the peer's address, masked. IPv4 ones match v4-mapped sockets too, which are
	// IPv4 on the wire.
	Peers []netip.Prefix
	// Loopback asks for a peer on the loopback.
	Loopback bool
}

// exemptions is a list that prints in words.
type exemptions []Exemption

// The keys of an exemption in JSON.
const (
	keyLocalPorts = "localPorts"
	keyPeerPorts  = "peerPorts"
	keyPeers      = "peers"
	keyLoopback   = "loopback"
)

// Matches reports whether the exemption describes the socket with these addresses. An exemption that asks
// for nothing matches every socket; Validate and the parser refuse one.
func (e Exemption) Matches(local, peer netip.AddrPort) bool {
	addr := peer.Addr().Unmap().WithZone("") // a prefix contains no address that has a zone
	return (len(e.LocalPorts) == 0 || e.LocalPorts.Contains(local.Port())) &&
		(len(e.PeerPorts) == 0 || e.PeerPorts.Contains(peer.Port())) &&
		(len(e.Peers) == 0 || slices.ContainsFunc(e.Peers, func(p netip.Prefix) bool { return p.Contains(addr) })) &&
		(!e.Loopback || addr.IsLoopback())
}

// String says in words what the exemption asks for, such as "local ports 22,8000-8999, peer 10.0.0.0/8".
func (e Exemption) String() string {
	var parts []string
	if e.Loopback {
		parts = append(parts, keyLoopback)
	}
	if len(e.LocalPorts) > 0 {
		parts = append(parts, e.LocalPorts.words("local"))
	}
	if len(e.Peers) > 0 {
		noun := "peer "
		if len(e.Peers) > 1 {
			noun = "peers "
		}
		parts = append(parts, noun+joinPeers(e.Peers))
	}
	if len(e.PeerPorts) > 0 {
		parts = append(parts, e.PeerPorts.words("peer"))
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ", ")
}

// Equal reports whether both exemptions are written the same, but for the order in their lists.
func (e Exemption) Equal(other Exemption) bool { return compareExemptions(e, other) == 0 }

// compareExemptions orders exemptions; those that compare as 0 ask for the same.
func compareExemptions(a, b Exemption) int {
	a, b = a.canonical(), b.canonical()
	loopback := func(e Exemption) int {
		if e.Loopback {
			return 1
		}
		return 0
	}
	return cmp.Or(
		slices.CompareFunc(a.LocalPorts, b.LocalPorts, PortRange.compare),
		slices.CompareFunc(a.Peers, b.Peers, netip.Prefix.Compare),
		slices.CompareFunc(a.PeerPorts, b.PeerPorts, PortRange.compare),
		cmp.Compare(loopback(a), loopback(b)),
	)
}

// canonical returns the exemption with its lists sorted and nothing in them twice.
func (e Exemption) canonical() Exemption {
	e.LocalPorts, e.PeerPorts = e.LocalPorts.canonical(), e.PeerPorts.canonical()
	e.Peers = canonicalPeers(e.Peers)
	return e
}

// union returns the exemptions of a, and those of b that a does not have.
func union(a, b []Exemption) []Exemption {
	all := slices.Clone(a)
	for _, e := range b {
		if !slices.ContainsFunc(all, e.Equal) {
			all = append(all, e)
		}
	}
	return all
}

type exemptionJSON struct {
	LocalPorts string `json:"localPorts,omitempty"`
	Peers      string `json:"peers,omitempty"`
	PeerPorts  string `json:"peerPorts,omitempty"`
	Loopback   bool   `json:"loopback,omitempty"`
}

// MarshalJSON writes the exemption as it stands in a conflist.
func (e Exemption) MarshalJSON() ([]byte, error) {
	return json.Marshal(exemptionJSON{
		LocalPorts: e.LocalPorts.String(), Peers: joinPeers(e.Peers), PeerPorts: e.PeerPorts.String(), Loopback: e.Loopback,
	})
}

// UnmarshalJSON reads an exemption as strictly as ParseNetwork does: any problem is an error that
// wraps Problems and leaves e alone.
func (e *Exemption) UnmarshalJSON(data []byte) error {
	var c collector
	parsed := c.exemption("$", data)
	if len(c.problems) > 0 {
		return fmt.Errorf("read exemption: %w", c.problems)
	}
	*e = parsed
	return nil
}

// exemptions reads a list of exemptions; with any problem in it the error says so, and nothing is returned.
func (c *collector) exemptions(path string, raw json.RawMessage, most int) (exemptions, error) {
	before := len(c.problems)
	values, _ := c.list(path, raw, `a list such as [{"localPorts": "22"}, {"loopback": true}]`, most)
	var all exemptions
	for i, value := range values {
		all = append(all, c.exemption(index(path, i), value))
	}
	if len(c.problems) > before {
		return nil, c.problems[before:]
	}
	return all, nil
}

// exemption reads one entry of a list of exemptions.
func (c *collector) exemption(path string, raw []byte) Exemption {
	var e Exemption
	obj, ok := c.object(path, raw)
	if !ok {
		return e
	}
	keys := map[string]reader{
		keyLocalPorts: func(at string, raw json.RawMessage) { e.LocalPorts = c.ports(at, raw) },
		keyPeerPorts:  func(at string, raw json.RawMessage) { e.PeerPorts = c.ports(at, raw) },
		keyPeers:      func(at string, raw json.RawMessage) { e.Peers = c.peers(at, raw) },
		keyLoopback: func(at string, raw json.RawMessage) {
			switch e.Loopback = string(raw) == "true"; {
			case e.Loopback:
			case string(raw) == "false":
				c.addf(at, "only true means anything: leave the key out")
			default:
				c.addf(at, "want true, got %s", describe(raw))
			}
		},
	}
	all := []string{keyLocalPorts, keyPeerPorts, keyPeers, keyLoopback}
	asks := false
	c.each(path, obj, keys, func(at string, f field) {
		if !isComment(f.key) {
			asks = true // for what, is not known
			c.unknown(at, f.key, all, all)
		}
	})
	for _, key := range all {
		asks = asks || obj.has(key)
	}
	if !asks {
		c.addf(path, `an entry without keys would exempt every socket: write "mode": "off" for that`)
	}
	return e
}

// validate reports what the parser would not have let through.
func (e Exemption) validate(c *collector, path string) {
	if len(e.LocalPorts) == 0 && len(e.PeerPorts) == 0 && len(e.Peers) == 0 && !e.Loopback {
		c.addf(path, `an entry without keys would exempt every socket: write "mode": "off" for that`)
	}
	e.LocalPorts.validate(c, child(path, keyLocalPorts))
	e.PeerPorts.validate(c, child(path, keyPeerPorts))
	validatePeers(e.Peers, c, child(path, keyPeers))
}
