// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
)

// PortRange is a range of TCP ports, both ends included. Neither end is 0.
type PortRange = Range[uint16]

// Ports are the ports of a match. Without any range, a match ignores the port.
type Ports []PortRange

func portKind() *rangeKind[uint16] {
	return &rangeKind[uint16]{"a port", `ports in a string such as "22,8000-8999"`, parsePort}
}

// Contains reports whether port is in one of the ranges.
func (p Ports) Contains(port uint16) bool {
	return slices.ContainsFunc(p, func(r PortRange) bool { return r.contains(port) })
}

// String returns the ranges as in a conflist: "22,8000-8999".
func (p Ports) String() string { return joinRanges(p) }

// MarshalText returns the text of String.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses at most 16 ports and ranges of ports, separated by commas. It sorts them, and joins adjacent ranges.
func (p *Ports) UnmarshalText(text []byte) error {
	ports, errs := parsePorts(string(text))
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	*p = ports
	return nil
}

// words returns, for example, "local port 22" or "local ports 22,8000-8999".
func (p Ports) words(whose string) string {
	if len(p) == 1 && p[0].First == p[0].Last {
		return whose + " port " + p.String()
	}
	return whose + " ports " + p.String()
}

func parsePorts(s string) (Ports, []error) {
	ports, errs := portKind().parseRanges(s)
	if len(errs) > 0 {
		return nil, errs
	}
	return ports, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("a port is a number from 1 to 65535")
	}
	return uint16(n), nil
}

// ports reads ports from JSON.
func (c *collector) ports(path string, raw json.RawMessage) Ports {
	if port, err := parsePort(string(raw)); err == nil {
		c.addf(path, "want %s, got the number %d: write \"%d\"", portKind().example, port, port)
		return nil
	}
	text, ok := c.text(path, raw, portKind().example)
	if !ok {
		return nil
	}
	ports, errs := parsePorts(text)
	for _, err := range errs {
		c.add(path, err)
	}
	return ports
}
