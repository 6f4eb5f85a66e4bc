// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
)

// Refusal describes the effect of a missing privilege.
func Refusal(v api.RefusalView) string {
	switch {
	case v.Kind == api.RefusedNetlink:
		return "no sock_diag socket can be opened, so no socket can be listed or destroyed: " + v.Problem
	case v.Kind == api.RefusedNetns && v.Fatal:
		return "no network namespace can be entered, so no socket can be listed or destroyed: " + v.Problem
	case v.Kind == api.RefusedNetns:
		return fmt.Sprintf("%d of %s cannot be entered, so their sockets can be neither listed nor destroyed: %s", v.Count, Plural(v.Of, "namespace", "namespaces"), v.Problem)
	case v.Kind == api.RefusedOwners:
		return fmt.Sprintf("the owners of some sockets cannot be found: the file descriptors of %d of %s cannot be listed (%s)", v.Count, Plural(v.Of, "process", "processes"), v.Problem)
	}
	return fmt.Sprintf("the peers of some sockets cannot be asked, so only their grace counts: %d of %s refuse pidfd_getfd (%s)", v.Count, Plural(v.Of, "process", "processes"), v.Problem)
}

// Peers summarizes the asked peers: their answers, and the reasons why some were not asked.
func Peers(p api.PeersView, wouldAsk uint64) string {
	text := counted(p.Answers, "asked") + ", " + counted(p.NotAsked, "could not be asked")
	if p.PerSecond == 0 {
		text = "none is asked (--max-asks-per-second 0)"
	}
	if p.Asking+p.Queued > 0 {
		text += fmt.Sprintf(", %d being asked, %d waiting", p.Asking, p.Queued)
	}
	if wouldAsk > 0 {
		text += fmt.Sprintf(", %d would have been asked", wouldAsk)
	}
	for _, errno := range slices.Sorted(maps.Keys(p.Refused)) {
		text += fmt.Sprintf(", %d refused with %s", p.Refused[errno], errno)
	}
	return text
}

// counted returns the sum of the counts with a word, and in brackets each count that is not 0.
func counted(counts map[string]uint64, what string) string {
	sum := uint64(0)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[name]; n > 0 {
			list, sum = append(list, fmt.Sprintf("%d %s", n, name)), sum+n
		}
	}
	text := fmt.Sprintf("%d %s", sum, what)
	if len(list) > 0 {
		text += " (" + strings.Join(list, ", ") + ")"
	}
	return text
}

// Asked summarizes what is known about a socket's peer.
func Asked(v api.SocketView) string {
	switch {
	case v.PeerAsked != nil:
		return "for " + Age(*v.PeerAsked)
	case v.NotAsked != "":
		return v.NotAsked
	case v.PeerAlive != nil:
		return "alive " + Age(*v.PeerAlive) + " ago"
	}
	return "-"
}
