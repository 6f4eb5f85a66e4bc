// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// Bounds on one layer.
const (
	maxMatches    = 64 // rules and exemptions together
	maxRanges     = 16 // in each list of a match
	maxCommand    = 64 // bytes in a command's name
	commandLength = 15 // bytes of it that the kernel keeps and that are compared (TASK_COMM_LEN - 1)
)

// Match selects the sockets that match every field that is set. Without any field it would match every socket; the parser
// refuses that.
type Match struct {
	State                 inetdiag.State // CLOSE_WAIT or FIN_WAIT2
	Role                  Role
	LocalPorts, PeerPorts Ports
	// Peers are networks of the peer's address, masked. IPv4 networks match v4-mapped sockets too, which are IPv4 on the
	// wire.
	Peers    []netip.Prefix
	Loopback bool // the peer has a loopback address
	// UIDs are those of the socket (idiag_uid) in the host's user namespace.
	UIDs []UIDRange
	// Commands are process names, of which the first 15 bytes are compared. A process chooses its own name, so this does not
	// protect against a hostile one.
	Commands []string
}

// The keys of a match in JSON.
const (
	keyState      = "state"
	keyRole       = "role"
	keyLocalPorts = "localPorts"
	keyPeerPorts  = "peerPorts"
	keyPeers      = "peers"
	keyLoopback   = "loopback"
	keyUIDs       = "uids"
	keyCommands   = "commands"
)

func matchKeys() []string {
	return []string{keyState, keyRole, keyLocalPorts, keyPeerPorts, keyPeers, keyLoopback, keyUIDs, keyCommands}
}

// certainty reports whether a match selects a socket of which role and owner may be unknown.
type certainty uint8

const (
	no         certainty = iota
	mayByOwner           // depending on the owner's command
	mayByRole            // depending on the role
	mayByBoth            // depending on both
	yes
)

// test returns whether the match selects the socket. The command is that of one owner; unknown is set if the owner is
// unknown.
func (m *Match) test(s *inetdiag.Socket, role Role, command string, unknown bool) certainty {
	if !m.matchesSocket(s) {
		return no
	}
	byRole, byOwner := false, false
	if m.Role != RoleUnknown && m.Role != role {
		if role != RoleUnknown {
			return no
		}
		byRole = true
	}
	if len(m.Commands) > 0 {
		switch {
		case unknown:
			byOwner = true
		case !slices.ContainsFunc(m.Commands, func(c string) bool { return sameCommand(c, command) }):
			return no
		}
	}
	switch {
	case byRole && byOwner:
		return mayByBoth
	case byRole:
		return mayByRole
	case byOwner:
		return mayByOwner
	}
	return yes
}

// matchesSocket reports whether the socket matches every field except Role and Commands.
func (m *Match) matchesSocket(s *inetdiag.Socket) bool {
	if m.State != 0 && m.State != s.State {
		return false
	}
	if len(m.UIDs) > 0 && !slices.ContainsFunc(m.UIDs, func(r UIDRange) bool { return r.contains(s.UID) }) {
		return false
	}
	if len(m.LocalPorts) == 0 && len(m.PeerPorts) == 0 && len(m.Peers) == 0 && !m.Loopback {
		return true
	}
	local, peer := s.ID.Local(), s.ID.Peer()
	addr := peer.Addr().Unmap() // the kernel returns no zone, with which no prefix would contain it
	return (len(m.LocalPorts) == 0 || m.LocalPorts.Contains(local.Port())) &&
		(len(m.PeerPorts) == 0 || m.PeerPorts.Contains(peer.Port())) &&
		(len(m.Peers) == 0 || slices.ContainsFunc(m.Peers, func(p netip.Prefix) bool { return p.Contains(addr) })) &&
		(!m.Loopback || addr.IsLoopback())
}

func sameCommand(a, b string) bool {
	return a[:min(len(a), commandLength)] == b[:min(len(b), commandLength)]
}

// String describes the match in words, such as "local ports 22,8000-8999, peer 10.0.0.0/8".
func (m Match) String() string {
	var parts []string
	if m.State != 0 {
		parts = append(parts, m.State.String())
	}
	if m.Role != RoleUnknown {
		parts = append(parts, m.Role.String())
	}
	if m.Loopback {
		parts = append(parts, keyLoopback)
	}
	if len(m.LocalPorts) > 0 {
		parts = append(parts, m.LocalPorts.words("local"))
	}
	if len(m.Peers) > 0 {
		parts = append(parts, plural("peer", len(m.Peers))+" "+joinPeers(m.Peers))
	}
	if len(m.PeerPorts) > 0 {
		parts = append(parts, m.PeerPorts.words("peer"))
	}
	if len(m.UIDs) > 0 {
		parts = append(parts, plural("uid", len(m.UIDs))+" "+joinRanges(m.UIDs))
	}
	if len(m.Commands) > 0 {
		quoted := make([]string, len(m.Commands))
		for i, c := range m.Commands {
			quoted[i] = quote(c)
		}
		parts = append(parts, plural("command", len(quoted))+" "+strings.Join(quoted, ", "))
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ", ")
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Equal reports whether both have the same fields, except for the order in their lists.
func (m Match) Equal(other Match) bool {
	return m.State == other.State && m.Role == other.Role && m.Loopback == other.Loopback &&
		slices.Equal(canonicalRanges(m.LocalPorts), canonicalRanges(other.LocalPorts)) &&
		slices.Equal(canonicalRanges(m.PeerPorts), canonicalRanges(other.PeerPorts)) &&
		slices.Equal(canonicalPeers(m.Peers), canonicalPeers(other.Peers)) &&
		slices.Equal(canonicalRanges(m.UIDs), canonicalRanges(other.UIDs)) &&
		slices.Equal(slices.Sorted(slices.Values(m.Commands)), slices.Sorted(slices.Values(other.Commands)))
}

type matchJSON struct {
	State      string   `json:"state,omitempty"`
	Role       string   `json:"role,omitempty"`
	LocalPorts string   `json:"localPorts,omitempty"`
	PeerPorts  string   `json:"peerPorts,omitempty"`
	Peers      string   `json:"peers,omitempty"`
	Loopback   bool     `json:"loopback,omitempty"`
	UIDs       string   `json:"uids,omitempty"`
	Commands   []string `json:"commands,omitempty"`
}

// MarshalJSON writes the match as in a conflist.
func (m Match) MarshalJSON() ([]byte, error) {
	out := matchJSON{
		LocalPorts: m.LocalPorts.String(), Peers: joinPeers(m.Peers), PeerPorts: m.PeerPorts.String(), Loopback: m.Loopback,
		UIDs: joinRanges(m.UIDs), Commands: m.Commands,
	}
	if m.State != 0 {
		out.State = m.State.String()
	}
	if m.Role != RoleUnknown {
		out.Role = m.Role.String()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads a match as strictly as ParseNetwork does. If there is any problem, it returns an error that wraps
// Problems, and does not change m.
func (m *Match) UnmarshalJSON(data []byte) error {
	var c collector
	parsed := c.match("$", data, exemptsAll)
	if len(c.problems) > 0 {
		return fmt.Errorf("read match: %w", c.problems)
	}
	*m = parsed
	return nil
}

// The problems of a match without keys.
const (
	exemptsAll = `an entry without keys would exempt every socket: write "mode": "off" for that`
	matchesAll = `a match without keys would match every socket: give the values outside the rules`
)

// exemptions reads a list of exemptions. It returns nil if there is any problem.
func (c *collector) exemptions(path string, raw json.RawMessage) []Match {
	before := c.count()
	values, ok := c.list(path, raw, `a list such as [{"localPorts": "22"}, {"loopback": true}]`, maxMatches)
	if !ok {
		return nil
	}
	all := make([]Match, 0, len(values))
	for i, value := range values {
		all = append(all, c.match(index(path, i), value, exemptsAll))
	}
	if c.count() > before {
		return nil
	}
	return all
}

// match reads a match; empty is the problem to report if it has no keys.
func (c *collector) match(path string, raw []byte, empty string) Match {
	var m Match
	obj, ok := c.object(path, raw)
	if !ok {
		return m
	}
	keys := map[string]reader{
		keyState:      func(at string, raw json.RawMessage) { m.State = c.state(at, raw) },
		keyRole:       func(at string, raw json.RawMessage) { readWord(c, at, raw, roleWords, &m.Role) },
		keyLocalPorts: func(at string, raw json.RawMessage) { m.LocalPorts = c.ports(at, raw) },
		keyPeerPorts:  func(at string, raw json.RawMessage) { m.PeerPorts = c.ports(at, raw) },
		keyPeers:      func(at string, raw json.RawMessage) { m.Peers = c.peers(at, raw) },
		keyLoopback: func(at string, raw json.RawMessage) {
			switch m.Loopback = string(raw) == "true"; {
			case m.Loopback:
			case string(raw) == "false":
				c.addf(at, "only true is allowed: leave the key out")
			default:
				c.addf(at, "want true, got %s", describe(raw))
			}
		},
		keyUIDs:     func(at string, raw json.RawMessage) { m.UIDs = c.uids(at, raw) },
		keyCommands: func(at string, raw json.RawMessage) { m.Commands = c.commands(at, raw) },
	}
	all := matchKeys()
	hasKeys := false
	c.each(path, obj, keys, func(at string, f field) {
		if !isComment(f.key) {
			hasKeys = true
			c.unknown(at, f.key, all, all)
		}
	})
	for _, key := range all {
		hasKeys = hasKeys || obj.has(key)
	}
	if !hasKeys {
		c.addf(path, "%s", empty)
	}
	return m
}

// state reads one of the two half-closed states. Unlike inetdiag.ParseState, which parses what people type, it accepts one
// spelling only, so that every version reads a stored policy alike.
func (c *collector) state(path string, raw json.RawMessage) inetdiag.State {
	text, ok := c.text(path, raw, `a string such as "CLOSE_WAIT"`)
	if !ok {
		return 0
	}
	names := []string{inetdiag.CloseWait.String(), inetdiag.FinWait2.String()}
	switch text {
	case names[0]:
		return inetdiag.CloseWait
	case names[1]:
		return inetdiag.FinWait2
	}
	if near, ok := c.nearest(text, names); ok {
		c.addf(path, "unknown state %s, did you mean %q?", quote(text), near)
		return 0
	}
	c.addf(path, `unknown state %s: want "CLOSE_WAIT" or "FIN_WAIT2"`, quote(text))
	return 0
}

// commands reads a list of process names.
func (c *collector) commands(path string, raw json.RawMessage) []string {
	values, ok := c.list(path, raw, `a list of process names such as ["postgres", "sshd"]`, maxRanges)
	if !ok {
		return nil
	}
	if len(values) == 0 {
		c.addf(path, "an empty list matches no process: leave the key out")
	}
	all := make([]string, 0, len(values))
	for i, value := range values {
		at := index(path, i)
		name, ok := c.text(at, value, `a process name such as "postgres"`)
		switch {
		case !ok:
		case name == "":
			c.addf(at, "a process name is missing")
		case len(name) > maxCommand:
			c.addf(at, "a process name of %d bytes, at most %d are allowed, and the first %d count", len(name), maxCommand, commandLength)
		case strings.ContainsAny(name, "\x00\n"):
			c.addf(at, "%s is not a process name", quote(name))
		case name[0] == '/':
			c.addf(at, "%s is a path: write the name of the process, such as %s", quote(name), quote(name[strings.LastIndexByte(name, '/')+1:]))
		default:
			all = append(all, name)
		}
	}
	return all
}
