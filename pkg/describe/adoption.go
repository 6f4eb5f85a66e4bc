// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
)

// NothingRegistered returns why no container is registered, and what to do next. Every command whose empty output could be
// taken for "no leaks" shows it. Neither text is safe to show.
func NothingRegistered(v api.AdoptionView) (what, todo string) {
	const nothing = "nothing is registered, so no leak can be found"
	switch {
	case v.Enabled && v.Adoptable+v.Skipped[api.AdoptRegistered]+v.Adopted > 0:
		return nothing + " yet: running containers are being adopted", `wait a second, or see "halfclose adopt --dry-run"`
	case v.Adoptable > 0:
		return nothing + ": " + Plural(v.Adoptable, "running container is", "running containers are") + " not adopted",
			`run "halfclose adopt", or the reaper without --adopt=false`
	case len(v.NotChained) > 0:
		return fmt.Sprintf("%s: the configuration of %s does not list halfclose", nothing, networks(v.NotChained)), `see "halfclose install --dry-run"`
	case v.Skipped[api.AdoptNoNetwork] > 0:
		return nothing + ": the networks of the running containers have no configuration on this node", `see "halfclose adopt --dry-run"`
	case v.Unregistered > 0:
		what = fmt.Sprintf("%s: %s without a network of CNI that lists halfclose", nothing, Plural(v.Unregistered, "network namespace exists", "network namespaces exist"))
		if len(v.UnregisteredPaths) > 0 {
			what += ", such as " + v.UnregisteredPaths[0]
		}
		return what, `see "halfclose install --dry-run"; without CNI: the reaper's --adopt-netns, or halfclose register NETNS`
	}
	return nothing + ": no container is running, or none that halfclose can see", `see "halfclose install --dry-run" and "halfclose doctor"`
}

// networks names networks in a sentence.
func networks(names []string) string {
	if len(names) == 1 {
		return "network " + names[0]
	}
	return "the networks " + strings.Join(names, ", ")
}

// Adoption describes the adopted containers, the skipped entries and the unregistered network namespaces in one line.
func Adoption(v api.AdoptionView) string {
	text := Plural(v.Adopted, "container", "containers")
	if !v.Enabled {
		text += fmt.Sprintf(" (off, %d could be)", v.Adoptable)
	}
	if skipped := Skipped(v.Skipped); skipped != "" {
		text += ", not " + skipped
	}
	if v.Unregistered > 0 {
		text += "; " + Plural(v.Unregistered, "named netns is", "named netns are") + " not registered"
	}
	if v.Problem != "" {
		text += "; " + v.Problem
	}
	return text
}

// Skipped lists the numbers of skipped entries by reason, the most frequent first. Entries with a
// record are left out.
func Skipped(by map[api.AdoptionReason]int) string {
	reasons := slices.SortedFunc(maps.Keys(by), func(a, b api.AdoptionReason) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, r := range reasons {
		if r != api.AdoptRegistered && by[r] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[r], AdoptionReason(r)))
		}
	}
	return strings.Join(parts, ", ")
}

// AdoptionReason describes a reason in words.
func AdoptionReason(r api.AdoptionReason) string {
	switch r {
	case api.AdoptRegistered:
		return "registered already"
	case api.AdoptUnreadable:
		return "unreadable"
	case api.AdoptStale:
		return "of an earlier boot"
	case api.AdoptNoNetwork:
		return "without a network configuration on this node"
	case api.AdoptNotChained:
		return "in a network that does not list halfclose"
	case api.AdoptNoNetns:
		return "without a network namespace"
	case api.AdoptHostNetns:
		return "in the host's network namespace"
	case api.AdoptUnproven:
		return "whose network namespace is another container's now"
	case api.AdoptAmbiguous:
		return "ambiguous"
	case api.AdoptInvalid:
		return "with an invalid name"
	case api.AdoptFailed:
		return "that could not be recorded"
	}
	return string(r)
}
