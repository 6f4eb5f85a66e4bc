// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

func statusCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the attachments, their policies and what was found in them",
		Long: `Show the reaper and each attachment on this node: its pod, the policy that applies
and what caps its mode, how many half-closed sockets there are and how old the
oldest is, how many were destroyed, and everything that is wrong.`,
		Example: `  halfclose status
  halfclose status --output json | jq '.attachments[] | select(.warnings)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if e.output == "json" {
				return printJSON(e.out, s)
			}
			return e.printStatus(s)
		},
	}
	e.outputFlag(cmd)
	return cmd
}

func (e *env) printStatus(s admin.Status) error {
	fmt.Fprintf(e.out, "Reaper    %s, version %s\n", s.Holder, s.Version.Version)
	fmt.Fprintf(e.out, "Finder    %s, %d sweeps, %s of CPU%s\n", s.Finder.Name, s.Finder.Sweeps, ago(s.Finder.CPU), late(s.Finder))
	fmt.Fprintf(e.out, "Mode      %s\n", mode(s.Mode))
	fmt.Fprintf(e.out, "Found     %d CLOSE_WAIT, %d FIN_WAIT2 in %d namespaces\n",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()], s.Namespaces)
	fmt.Fprintf(e.out, "Destroyed %d (%d would have been, %d wait for the budget%s)\n\n",
		total(s.Counts.Destroyed), total(s.Counts.WouldDestroy), s.Budget.Waiting, refused(s.Counts.Errors))

	t := newTable(e.out, "POD", "IFNAME", "NETWORK", "MODE", "GRACE", "CLOSE_WAIT", "FIN_WAIT2", "OLDEST", "DESTROYED")
	for _, a := range s.Attachments {
		t.row(podName(a.Pod, a.ContainerID), a.IfName, a.Network, attachmentMode(a), graces(a.Policy),
			strconv.Itoa(a.Candidates[inetdiag.CloseWait.String()]), strconv.Itoa(a.Candidates[inetdiag.FinWait2.String()]),
			ago(a.Oldest), strconv.FormatUint(a.Destroyed, 10))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, line := range problems(s) {
		fmt.Fprintln(e.out, clean(line))
	}
	return nil
}

func late(f reaper.FinderView) string {
	if f.Late == 0 {
		return ""
	}
	return ", " + ago(f.Late) + " late: held back by --cpu-budget"
}

func mode(m reaper.ModeView) string {
	text := m.Effective.String()
	var by []string
	if m.Reaper != policy.Destroy {
		by = append(by, "--mode "+m.Reaper.String())
	}
	if m.Switch != nil {
		by = append(by, fmt.Sprintf("switched to %s by %s at %s", m.Switch.Mode, clean(m.Switch.Who), m.Switch.When.Format(time.RFC3339)))
	}
	if m.SwitchProblem != "" {
		by = append(by, "the switch cannot be read: "+clean(m.SwitchProblem))
	}
	if m.KernelProblem != "" {
		by = append(by, m.KernelProblem)
	}
	if len(by) == 0 {
		return text
	}
	return text + " (" + strings.Join(by, "; ") + ")"
}

func attachmentMode(a reaper.AttachmentView) string {
	switch {
	case a.Inert != "":
		return "inert"
	case len(a.CappedBy) > 0:
		return a.Mode.String() + "*"
	}
	return a.Mode.String()
}

func graces(p reaper.PolicyView) string {
	if p.CloseWaitGrace == p.FinWait2Grace {
		return p.CloseWaitGrace.String()
	}
	return p.CloseWaitGrace.String() + "/" + p.FinWait2Grace.String()
}

func total(counts map[inetdiag.State]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func refused(errs map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		list = append(list, fmt.Sprintf(", %d refused with %s", errs[name], name))
	}
	return strings.Join(list, "")
}

// problems lists everything that somebody should look at.
func problems(s admin.Status) []string {
	var lines []string
	for _, a := range s.Attachments {
		name := podName(a.Pod, a.ContainerID) + " " + a.IfName + ": "
		if a.Inert != "" {
			lines = append(lines, name+"nothing is done: "+a.Inert)
		}
		if len(a.CappedBy) > 0 && a.Inert == "" {
			lines = append(lines, name+"* mode capped by "+strings.Join(a.CappedBy, "; "))
		}
		if a.Problem != "" {
			lines = append(lines, name+a.Problem)
		}
		for _, w := range a.Warnings {
			lines = append(lines, name+w)
		}
	}
	for _, p := range s.Problems {
		lines = append(lines, "record "+p.File+": "+p.Problem)
	}
	if len(lines) > 0 {
		lines = append([]string{""}, lines...)
	}
	return lines
}
