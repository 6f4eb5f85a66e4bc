// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/nstest"
)

// snapshot has the value of each thing on the host by its kind and name, such as "link eth0". A thing without a value
// has a plus sign for each time that it occurs.
type snapshot map[string]string

// count counts one more occurrence of a thing.
func (s snapshot) count(name string) {
	s[name] += "+"
}

// differences are the lines in which two snapshots differ.
type differences struct {
	own          []string // made by the command
	unattributed []string // made by the command or by another program
}

// compare returns how now differs from s.
func (s snapshot) compare(now snapshot) (d differences) {
	names := maps.Clone(s)
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, existed := s[name]
		is, exists := now[name]
		var line string
		switch {
		case !existed && strings.HasPrefix(name, "sysctl "): // it comes with a link or a module
			continue
		case !existed:
			line = "left: " + name
		case !exists:
			line = "gone: " + name
		case was != is:
			line = fmt.Sprintf("changed: %s: %s, was %s", name, quoteShort(is), quoteShort(was))
		default:
			continue
		}
		if isAttributed(name) {
			d.own = append(d.own, line)
		} else {
			d.unattributed = append(d.unattributed, line)
		}
	}
	return d
}

// isAttributed reports whether only the command can have caused a change.
func isAttributed(name string) bool {
	switch kind, rest, _ := strings.Cut(name, " "); kind {
	case "sysctl":
		return strings.HasPrefix(rest, "net.")
	case "cgroup":
		return strings.Contains(rest, "/halfclose-test-"+os.Getenv(nstest.RunVar)+"-")
	}
	return true
}

// quoteShort quotes up to 60 bytes of a value.
func quoteShort(value string) string {
	value = strings.Join(strings.Fields(value), " ")
	if len(value) > 60 {
		value = value[:60] + "..."
	}
	return fmt.Sprintf("%q", value)
}

// takeSnapshot reads everything that a run could change.
func takeSnapshot() (snapshot, error) {
	s := make(snapshot)
	for _, read := range []func(snapshot) error{readMounts, readLinks, readRules, readCgroups, readSysctls, readFiles} {
		if err := read(s); err != nil {
			return nil, fmt.Errorf("take a snapshot of the host: %w", err)
		}
	}
	return s, nil
}
