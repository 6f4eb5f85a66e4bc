// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// LeakRows starts a table of leaks.
func (p *Printer) LeakRows() *Rows[api.LeakGroup] {
	wide := p.Format == Wide
	cols := []term.Column{
		{Name: "POD"},
		{Name: "OWNER", Fold: 5, Lead: ", held by "},
		{Name: "STATE", Fold: 3, Lead: ", ", Paint: statePaint},
		{Name: "ROLE", Fold: 6, Lead: ", "},
		{Name: "ADDRESS", Fold: 4, Lead: ", "},
		{Name: "SOCKETS", Right: true, Fold: 1, Lead: ", sockets "},
		{Name: "OLDEST", Right: true, Fold: 2, Lead: ", oldest "},
		{Name: "GROWTH", Right: true, Fold: 7, Lead: ", growth "},
		{Name: "VERDICTS", Fold: 8, Lead: ": "},
	}
	if wide {
		cols = append(cols, term.Column{Name: "NEWEST", Right: true}, term.Column{Name: "UNREAD", Right: true}, term.Column{Name: "HELD", Right: true})
	}
	return newRows(p, cols, func(g api.LeakGroup) []string {
		row := []string{
			describe.Pod(g.Pod, g.ContainerID), leakOwner(g), g.State.String(), roleText(g.Role), leakAddress(g), strconv.Itoa(g.Sockets),
			describe.Age(g.Oldest), describe.Growth(g.Growth), describe.Counts(g.Verdicts),
		}
		if wide {
			row = append(row, describe.Age(g.Newest), strconv.FormatUint(g.Unread, 10), strconv.Itoa(g.Held))
		}
		return row
	})
}

// PrintOmitted prints how many groups of leaks a limit left out.
func (p *Printer) PrintOmitted(groups int) error {
	if groups == 0 {
		return nil
	}
	text := describe.Plural(groups, "smaller group is", "smaller groups are") + " not listed (--limit)."
	_, err := fmt.Fprintln(p.Out, term.Fill(p.Screen().Width, "", "", text))
	return err
}

// leakOwner names the processes that hold a group's sockets.
func leakOwner(g api.LeakGroup) string {
	switch {
	case len(g.Owners) == 0: // whatever a node of another version counts
		return "-"
	case g.OwnerCount <= 1:
		return processText(g.Owners[0].Command, g.Owners[0].PID)
	}
	return fmt.Sprintf("%s and %d more", processText(g.Owners[0].Command, g.Owners[0].PID), g.OwnerCount-1)
}

func processText(command string, pid int) string { return fmt.Sprintf("%s[%d]", command, pid) }

// roleText returns a role, "-" if it is unknown.
func roleText(r policy.Role) string {
	if r == policy.RoleUnknown {
		return "-"
	}
	return r.String()
}

// leakAddress returns the address that a group's sockets have in common.
func leakAddress(g api.LeakGroup) string {
	if g.Peer != "" {
		return "peer " + g.Peer
	}
	return "local " + g.Local
}

// PrintLeaks prints the leaks of one node, and below them the processes that hold descriptors.
func (p *Printer) PrintLeaks(list *api.LeakList) error {
	rows := p.LeakRows()
	rows.Add("", list.Groups...)
	if err := errors.Join(rows.Flush(), p.PrintOmitted(list.Omitted)); err != nil {
		return err
	}
	var findings Findings
	findings.AddLeaks("", list)
	return p.PrintFindings(&findings)
}
