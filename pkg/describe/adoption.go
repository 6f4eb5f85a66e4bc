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
// taken for "no leaks" shows it. The text is not safe to show.
func NothingRegistered(v api.AdoptionView) string {
	const nothing = "nothing is registered, so no leak can be found: "
	switch {
	case len(v.NotChained) > 0:
		return nothing + fmt.Sprintf("the configuration of %s does not list halfclose: see \"halfclose install --dry-run\"", networks(v.NotChained))
	case v.Adoptable > 0 && !v.Enabled:
		return nothing + fmt.Sprintf("%s can be adopted: run \"halfclose adopt\", or the reaper without --adopt=false",
			Plural(v.Adoptable, "running container", "running containers"))
	case v.Skipped[api.AdoptNoNetwork] > 0:
		return nothing + "the networks of the running containers have no configuration on this node: \"halfclose adopt --dry-run\" lists them"
	case v.Unregistered > 0:
		return nothing + fmt.Sprintf("%s not created by a CNI network that lists halfclose (such as %s): see \"halfclose adopt --dry-run\" and \"halfclose install --dry-run\"; without CNI: the reaper's --adopt-netns, or halfclose register NETNS",
			Plural(v.Unregistered, "network namespace was", "network namespaces were"), v.UnregisteredPaths[0])
	}
	return nothing + "see \"halfclose install --dry-run\", or \"halfclose doctor\" for the whole picture"
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
		text += fmt.Sprintf(", off (%d could be)", v.Adoptable)
	}
	if skipped := Skipped(v.Skipped); skipped != "" {
		text += ", not " + skipped
	}
	text += "; " + Plural(v.Unregistered, "network namespace is not registered", "network namespaces are not registered")
	if v.Problem != "" {
		text += "; " + v.Problem
	}
	return text
}

// Skipped lists the numbers of skipped entries by reason, the most frequent first, without those that have a record.
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
		return "of a network namespace that is another container's now"
	case api.AdoptAmbiguous:
		return "ambiguous"
	case api.AdoptInvalid:
		return "with an invalid name"
	case api.AdoptFailed:
		return "that could not be recorded"
	}
	return string(r)
}
