// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// MaxTail bounds HistoryQuery.Tail: up to 10,000 entries are in memory at once.
const MaxTail = 10_000

// EntryFilter selects entries of the history. The zero EntryFilter selects all.
type EntryFilter struct {
	PodQuery
	Since, Until time.Time // the earliest and the latest time; zero: no bound
	Outcome      string    // "": all
	Ends         Ends
}

// Wants reports whether f selects an entry.
func (f *EntryFilter) Wants(e *Entry) bool {
	return (f.Since.IsZero() || !e.Time.Before(f.Since)) && (f.Until.IsZero() || !e.Time.After(f.Until)) &&
		(f.Outcome == "" || f.Outcome == e.Outcome) && f.Covers(e.Pod, e.ContainerID) && f.Ends.Match(e)
}

// Ends are up to two addresses of a connection, in either order: a socket on this node may be at either end. The zero Ends
// match every connection.
type Ends struct{ A, B End }

// End is an address, or an address and a port. The zero End matches every address, port 0 every port.
type End struct{ netip.AddrPort }

// ParseEnd parses ADDR or ADDR:PORT, with an IPv6 address in brackets if a port follows.
func ParseEnd(text string) (End, error) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return End{netip.AddrPortFrom(addr.Unmap().WithZone(""), 0)}, nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return End{}, fmt.Errorf("%q is not an address such as 10.0.0.7, 10.0.0.7:443 or [fd00::7]:443", text)
	}
	return End{netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())}, nil
}

// String returns what ParseEnd parses, "" for the zero End.
func (d End) String() string {
	switch {
	case !d.IsValid():
		return ""
	case d.Port() == 0:
		return d.Addr().String()
	}
	return d.AddrPort.String()
}

// match reports whether d selects an address. An entry of several sockets has no address or port 0 where theirs differ.
func (d End) match(at netip.AddrPort, several bool) bool {
	if !d.IsValid() || several && !at.IsValid() {
		return true
	}
	return d.isAddrOf(at) && (d.Port() == 0 || d.Port() == at.Port() || several && at.Port() == 0)
}

func (d End) isAddrOf(at netip.AddrPort) bool {
	return d.IsValid() && at.IsValid() && d.Addr() == at.Addr().Unmap().WithZone("")
}

// IsZero reports whether all connections match.
func (d Ends) IsZero() bool { return !d.A.IsValid() && !d.B.IsValid() }

// Match reports whether an entry's connection has these ends. An entry of several sockets matches if one of them may, and it
// has at least one of the addresses.
func (d Ends) Match(e *Entry) bool {
	return d.match(e.Local, e.Peer, e.Count > 1) || d.match(e.Peer, e.Local, e.Count > 1)
}

func (d Ends) match(a, b netip.AddrPort, several bool) bool {
	return d.A.match(a, several) && d.B.match(b, several) && (!several || d.IsZero() || d.A.isAddrOf(a) || d.B.isAddrOf(b))
}

// String joins the ends with a comma; ParseEnds parses it.
func (d Ends) String() string {
	if !d.B.IsValid() {
		return d.A.String()
	}
	return d.A.String() + "," + d.B.String()
}

// ParseEnds parses one address, or two with a comma between them.
func ParseEnds(text string) (d Ends, err error) {
	a, b, two := strings.Cut(text, ",")
	if d.A, err = ParseEnd(a); err == nil && two {
		d.B, err = ParseEnd(b)
	}
	return d, err
}

// HistoryStoreView is the state of the history on disk.
type HistoryStoreView struct {
	Dir      string    `json:"dir"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest,omitzero"` // beginning of the oldest segment
	Written  uint64    `json:"written"`         // lines, by this reaper
	Waiting  int       `json:"waiting"`         // lines in memory that are not written yet
	Lost     uint64    `json:"lost"`            // lines that could not be written, by this reaper
	// Problem is why lines cannot be written, "" if they can.
	Problem string `json:"problem,omitempty"`
	// Damage describes the segments that this reaper found empty, cut or damaged when it started.
	Damage string `json:"damage,omitempty"`
}
