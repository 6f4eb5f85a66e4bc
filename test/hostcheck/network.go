// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// readLinks reads links, their addresses, and routes.
func readLinks(s snapshot) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		s["link "+l.Attrs().Name] = l.Type()
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		s.count(fmt.Sprintf("address %s of link %d", a.IPNet, a.LinkIndex))
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		s.count(fmt.Sprintf("route to %v by %v, link %d", r.Dst, r.Gw, r.LinkIndex))
	}
	return nil
}

// readRules reads the rules and chains of packet filters. A packet filter whose program is not installed has none.
func readRules(s snapshot) error {
	if err := countLines(s, "nftables", "nft", "--stateless", "list", "ruleset"); err != nil {
		return err
	}
	// Listing the rules of a legacy table creates the table: list only the existing ones.
	for family, names := range map[string]string{"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"} {
		b, err := os.ReadFile(names)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for table := range strings.FieldsSeq(string(b)) {
			if err := countLines(s, family+" "+table, family+"-legacy-save", "-t", table); err != nil {
				return err
			}
		}
	}
	return nil
}

// countLines counts each line that a command prints, without comments and the counters of chains.
func countLines(s snapshot, kind, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	for line := range strings.Lines(string(out)) {
		if line, _, _ = strings.Cut(strings.TrimSpace(line), " ["); line != "" && line[0] != '#' {
			s.count(kind + ": " + line)
		}
	}
	return nil
}
