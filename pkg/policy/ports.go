// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortRange is a range of TCP ports, both ends included. Neither end is 0.
type PortRange struct{ First, Last uint16 }

// Ports are the ports of an exemption; no ranges at all ask for nothing, which every port satisfies.
type Ports []PortRange

const portsExample = `ports in a string such as "22,8000-8999"`

// Contains reports whether port is in one of the ranges.
func (p Ports) Contains(port uint16) bool {
	return slices.ContainsFunc(p, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

// String returns the ranges as they stand in a conflist: "22,8000-8999".
func (p Ports) String() string {
	parts := make([]string, len(p))
	for i, r := range p {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// String returns "8000-8999", or "22" where both ends are the same.
func (r PortRange) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

// MarshalText returns what String does.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText takes at most 16 ports and ranges of ports, separated by commas. They are kept sorted, and
// those that touch become one.
func (p *Ports) UnmarshalText(text []byte) error {
	ports, errs := parsePorts(string(text))
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	*p = ports
	return nil
}

// words returns for instance "local port 22" or "local ports 22,8000-8999".
func (p Ports) words(whose string) string {
	if len(p) == 1 && p[0].First == p[0].Last {
		return whose + " port " + p.String()
	}
	return whose + " ports " + p.String()
}

func (r PortRange) compare(other PortRange) int {
	return cmp.Or(cmp.Compare(r.First, other.First), cmp.Compare(r.Last, other.Last))
}

// canonical returns the ranges sorted, with those that overlap or touch made one.
func (p Ports) canonical() Ports {
	var out Ports
	for _, r := range slices.SortedFunc(slices.Values(p), PortRange.compare) {
		// In int, since 65535 has no port after it.
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func parsePorts(s string) (Ports, []error) {
	var (
		ports Ports
		errs  []error
	)
	items := strings.Split(s, ",")
	if len(items) > maxRanges {
		errs = append(errs, fmt.Errorf("%d ranges, at most %d are allowed", len(items), maxRanges))
		items = items[:maxRanges] // the others are not looked at
	}
	for _, item := range items {
		r, err := parseRange(strings.TrimSpace(item))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ports = append(ports, r)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return ports.canonical(), nil
}

func parseRange(s string) (PortRange, error) {
	if s == "" {
		return PortRange{}, fmt.Errorf("a port is missing: want %s", portsExample)
	}
	first, last, isRange := strings.Cut(s, "-")
	var (
		r   PortRange
		err error
	)
	if r.First, err = parsePort(strings.TrimSpace(first)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last = r.First; !isRange {
		return r, nil
	}
	if r.Last, err = parsePort(strings.TrimSpace(last)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last < r.First {
		return r, fmt.Errorf("%s ends before it begins: write %q", quote(s), PortRange{r.Last, r.First})
	}
	return r, nil
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
		c.addf(path, "want %s, got the number %d: write \"%d\"", portsExample, port, port)
		return nil
	}
	text, ok := c.text(path, raw, portsExample)
	if !ok {
		return nil
	}
	ports, errs := parsePorts(text)
	for _, err := range errs {
		c.add(path, err)
	}
	return ports
}
