// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// state is what a look at the host has found: the value of each thing by its name, such as "link eth0". How
// many there are of a thing that has no value counts as its value.
type state map[string]string

// count notes one more of a thing.
func (s state) count(name string) {
	s[name] += "+"
}

// changes says how the host differs from what it was, a line a difference.
func (s state) changes(now state) (all []string) {
	names := maps.Clone(s)
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, there := s[name]
		is, still := now[name]
		switch {
		case !there && strings.HasPrefix(name, "sysctl "): // it comes with a link or a module
		case !there:
			all = append(all, "left: "+name)
		case !still && strings.HasPrefix(name, "cgroup "): // other work on the machine has ended
		case !still:
			all = append(all, "gone: "+name)
		case was != is:
			all = append(all, fmt.Sprintf("changed: %s: %s, was %s", name, short(is), short(was)))
		}
	}
	return all
}

// short makes a value fit a line.
func short(value string) string {
	value = strings.Join(strings.Fields(value), " ")
	if len(value) > 60 {
		value = value[:60] + "..."
	}
	return fmt.Sprintf("%q", value)
}

// look looks at all that a run could change.
func look() (state, error) {
	s := make(state)
	for _, at := range []func(state) error{lookAtMounts, lookAtLinks, lookAtRules, lookAtCgroups, lookAtSysctls, lookAtPaths} {
		if err := at(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}
