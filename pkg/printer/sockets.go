// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// SocketRows starts a table of sockets, with the processes that own each if owners is set.
func (p *Printer) SocketRows(owners bool) *Rows[api.SocketView] {
	wide := p.Format == Wide
	why := 9 // the index of the column WHY
	if p.Nodes {
		why++
	}
	cols := []term.Column{
		{Name: "POD"},
		{Name: "STATE", Fold: 2, Lead: ", ", Paint: statePaint},
		{Name: "LOCAL", Fold: 4, Lead: ", local "},
		{Name: "PEER", Fold: 4, Lead: ", peer "},
		{Name: "AGE", Right: true, Fold: 3, Lead: ", age "},
		{Name: "IDLE", Right: true, Fold: 5, Lead: ", idle ", IsRepeated: func(row []string) bool {
			return strings.HasPrefix(row[why], "idle for ")
		}},
		{Name: "RECV-Q", Right: true, Fold: 6, Lead: ", recv-q "},
		{Name: "SEND-Q", Right: true, Fold: 6, Lead: ", send-q "},
		{Name: "VERDICT", Fold: 1, Lead: ", ", Paint: verdictPaint},
		{Name: "WHY", Fold: 7, Lead: ": "},
	}
	if wide {
		cols = append(cols, term.Column{Name: "PEER-ASKED"})
	}
	if owners {
		cols = append(cols, term.Column{Name: "OWNERS", Fold: 8, Lead: "; held by "})
	}
	return newRows(p, cols, func(v api.SocketView) []string {
		row := []string{
			describe.Pod(v.Pod, v.ContainerID), v.State.String(), v.Local, v.Peer, ageOrDash(v.Age), ageOrDash(v.Idle),
			strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), v.Why,
		}
		if wide {
			row = append(row, describe.Asked(v))
		}
		if owners {
			row = append(row, describe.Owners(v.Owners))
		}
		return row
	})
}

// ageOrDash returns an age, "-" if it is unknown.
func ageOrDash(s *api.Seconds) string {
	if s == nil {
		return "-"
	}
	return describe.Age(*s)
}
