// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package describe puts the reaper's answers into words, for the commands and for the full-screen view: what pods,
// ages, modes and verdicts are called, and what is wrong. Only text that is documented as safe to show is; for the rest
// see term.Clean.
package describe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// Pod names a pod, or the container if the runtime has passed no pod.
func Pod(p state.Pod, containerID string) string {
	if p.Name == "" {
		return ContainerID(containerID)
	}
	return p.Namespace + "/" + p.Name
}

// ContainerID cuts the container ID of a runtime to the length that other tools show. An ID that a person chose stays
// whole.
func ContainerID(id string) string {
	switch {
	case id == "":
		return "-"
	case len(id) > 13 && strings.Trim(id, "0123456789abcdef") == "":
		return id[:13]
	}
	return id
}

// Plural returns n with the word for one thing or for many.
func Plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(uint64(n), 10) + " " + many
}

// Owners lists the processes that hold a socket, and their containers.
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

// Graces are the graces of a policy: one if both states have the same, else that of CLOSE_WAIT and that of FIN_WAIT2.
func Graces(p api.PolicyView) string {
	if p.CloseWaitGrace == p.FinWait2Grace {
		return p.CloseWaitGrace.String()
	}
	return p.CloseWaitGrace.String() + "/" + p.FinWait2Grace.String()
}

// Total adds the counts of all states up.
func Total(counts map[inetdiag.State]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Late says how far the finder lags behind. It begins with a comma; it is empty while the finder keeps up.
func Late(f api.FinderView) string {
	if f.Late == 0 {
		return ""
	}
	return ", " + Age(f.Late) + " late: held back by --cpu-budget"
}
