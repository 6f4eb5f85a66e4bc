// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// maxLeaks bounds the groups that the screen asks for.
const maxLeaks = 500

// leakSpec describes the list of leaks: one row for the leaked sockets of a pod and a process, in one state and with one
// address in common, those with the most sockets first.
func leakSpec() spec[api.LeakGroup] {
	pod := func(g api.LeakGroup) string { return safetext.Escape(describe.Pod(g.Pod, g.ContainerID)) }
	key := func(g api.LeakGroup) string {
		return fmt.Sprint(g.ContainerID, g.Netns, g.Owners, g.State, g.Role, g.Local, g.Peer)
	}
	rest := func(a, b api.LeakGroup) int { return cmp.Or(cmp.Compare(pod(a), pod(b)), cmp.Compare(key(a), key(b))) }
	count := func(a, b api.LeakGroup) int { return cmp.Compare(b.Sockets, a.Sockets) }
	return spec[api.LeakGroup]{
		columns: func(width int) []term.Column {
			return []term.Column{
				{Name: "SOCKETS", Right: true},
				{Name: "POD", Least: max(12, width/4)},
				{Name: "OWNER", Least: 12},
				{Name: "STATE", Fold: 4},
				{Name: "ADDRESS", Least: 18, Fold: 2},
				{Name: "OLDEST", Right: true, Fold: 1},
				{Name: "GROWTH", Right: true, Fold: 3},
				{Name: "HELD", Right: true, Fold: 5},
				{Name: "VERDICTS", Fold: 6},
			}
		},
		cells: func(g api.LeakGroup) []string {
			return []string{
				strconv.Itoa(g.Sockets), pod(g), ownerNames(g.Owners), g.State.String(), leakAddress(g),
				describe.Age(g.Oldest), growth(g), strconv.Itoa(g.Held), leakVerdicts(g),
			}
		},
		key:       key,
		namespace: func(g api.LeakGroup) string { return g.Pod.Namespace },
		orders: []order[api.LeakGroup]{
			{"count", func(a, b api.LeakGroup) int { return cmp.Or(count(a, b), rest(a, b)) }},
			{"age", func(a, b api.LeakGroup) int { return cmp.Or(cmp.Compare(b.Oldest, a.Oldest), count(a, b), rest(a, b)) }},
			{"growth", func(a, b api.LeakGroup) int {
				return cmp.Or(cmp.Compare(perMinute(b), perMinute(a)), count(a, b), rest(a, b))
			}},
			{"pod", rest},
		},
		detail: leakLines,
		empty:  "  No socket counts as leaked: none is idle for a minute.",
	}
}

// leakAddress returns the address that the sockets have in common.
func leakAddress(g api.LeakGroup) string {
	if g.Local != "" {
		return safetext.Escape("at " + g.Local)
	}
	return safetext.Escape("to " + g.Peer)
}

// perMinute returns the growth of a group, less than any other if it is unknown.
func perMinute(g api.LeakGroup) float64 {
	if g.Growth == nil {
		return -1
	}
	return *g.Growth
}

func growth(g api.LeakGroup) string {
	if g.Growth == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f/min", *g.Growth)
}

func leakVerdicts(g api.LeakGroup) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(g.Verdicts)) {
		words = append(words, fmt.Sprintf("%d %s", g.Verdicts[name], safetext.Escape(name)))
	}
	return strings.Join(words, ", ")
}

// leakLines returns the details of one group.
func leakLines(g api.LeakGroup, width int) []string {
	what := fmt.Sprintf("%s %s, %s, half-closed for %s to %s; %s", describe.Plural(g.Sockets, "socket", "sockets"), leakAddress(g), g.Role,
		describe.Age(g.Newest), describe.Age(g.Oldest), leakVerdicts(g))
	held := "held by " + ownerNames(g.Owners)
	if n := g.OwnerCount - len(g.Owners); n > 0 {
		held += fmt.Sprintf(" and %d more", n)
	}
	if g.Ended > 0 {
		held += fmt.Sprintf("; %d of %d ended sockets are still held", g.Held, g.Ended)
	}
	return slices.Concat([]string{term.Strong.Paint(safetext.Escape(describe.Pod(g.Pod, g.ContainerID))) + "  " + g.State.String()},
		wrapped(width, what), wrapped(width, held))
}
