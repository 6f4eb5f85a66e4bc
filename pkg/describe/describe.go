// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package describe formats the reaper's answers for people: names of pods, ages, modes, and findings with advice. Commands
// and the full-screen view share it. Its texts are safe to show only where that is documented; pass others through
// safetext.Escape.
package describe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// Pod returns the name of a pod, or the container ID if the runtime has passed no pod.
func Pod(p state.Pod, containerID string) string {
	if p.Name == "" {
		return ContainerID(containerID)
	}
	return p.Namespace + "/" + p.Name
}

// ContainerID shortens the container ID of a runtime to the length that other tools show. A name that an operator chose
// is not shortened.
func ContainerID(id string) string {
	switch {
	case id == "":
		return "-"
	case state.IsRuntimeID(id):
		return id[:13]
	}
	return id
}

// Plural returns n with its singular or plural noun.
func Plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(uint64(n), 10) + " " + many
}

// Owners lists the processes that own a socket, with their containers.
func Owners(list []owners.Process) string {
	if len(list) == 0 {
		return "-"
	}
	names := make([]string, 0, len(list))
	for _, p := range list {
		name := fmt.Sprintf("%s[%d]", p.Command, p.PID)
		if p.ContainerID != "" {
			name += " in " + ContainerID(p.ContainerID)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// Graces returns the graces of a policy: one if both states share it, else "CLOSE_WAIT's/FIN_WAIT2's".
func Graces(p api.PolicyView) string {
	if p.CloseWaitGrace == p.FinWait2Grace {
		return p.CloseWaitGrace.String()
	}
	return p.CloseWaitGrace.String() + "/" + p.FinWait2Grace.String()
}

// Total adds up the counts of all states.
func Total(counts map[inetdiag.State]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Crowded names the network namespaces that are swept on their own; "" if there are none. The text is safe to show.
func Crowded(list []api.CrowdedView) string {
	var names []string
	for _, c := range list {
		names = append(names, fmt.Sprintf("%s (%s)", safetext.Escape(Pod(c.Pod, c.Container)), Plural(c.Sockets, "socket", "sockets")))
	}
	return strings.Join(names, ", ")
}

// Late returns the delay of the finder, after a comma; "" if it keeps up.
func Late(f api.FinderView) string {
	if f.Late == 0 {
		return ""
	}
	return ", " + Age(f.Late) + " late: held back by --cpu-budget"
}

// Stale returns a note on an answer that is older than its question; "" if it is not.
func Stale(s api.Seconds) string {
	if s <= 0 {
		return ""
	}
	return "some sockets may be missing: they were last read up to " + Age(s) + " ago, and the finder has no CPU time to spare (--cpu-budget)"
}
