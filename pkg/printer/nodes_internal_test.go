// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
)

// TestTablesOfAllNodesBeginWithTheNode compares each table of several nodes with the one of a node: only a column is added.
func TestTablesOfAllNodesBeginWithTheNode(t *testing.T) {
	for name, show := range map[string]func(p *Printer, node string) error{
		"sockets": func(p *Printer, node string) error {
			rows := p.SocketRows(true)
			rows.Add(node, apitest.Sockets()...)
			return rows.Flush()
		},
		"leaks": func(p *Printer, node string) error {
			rows := p.LeakRows()
			rows.Add(node, apitest.Leaks().Groups...)
			return rows.Flush()
		},
		"history": func(p *Printer, node string) error {
			rows := p.EntryRows()
			rows.Add(node, apitest.Entries()...)
			return rows.Flush()
		},
		"attachments": func(p *Printer, node string) error {
			var list []NodeAttachment
			for _, a := range apitest.Status().Attachments {
				list = append(list, NodeAttachment{node, a})
			}
			return p.PrintAttachments(list, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			one := strings.Split(shownAt(t, 0, func(p *Printer) error { return show(p, "") }), "\n")
			all := strings.Split(shownAt(t, 0, func(p *Printer) error { p.Nodes = true; return show(p, "node-1") }), "\n")
			if len(one) != len(all) {
				t.Fatalf("%d lines, want %d", len(all), len(one))
			}
			for i, line := range one[:len(one)-1] {
				node := "node-1  "
				if i == 0 {
					node = "NODE    "
				}
				if want := node + line; all[i] != want {
					t.Errorf("line %d is\n%s, want\n%s", i, all[i], want)
				}
			}
			for _, width := range []int{20, 40, 80, 132} {
				termtest.CheckWidth(t, width, shownAt(t, width, func(p *Printer) error { p.Nodes = true; return show(p, "node-1") }))
			}
		})
	}
}

func TestAnIdleTimeInTheReasonIsNotRepeatedBesideANode(t *testing.T) {
	v := api.SocketView{Idle: apitest.Seconds(9e9), Why: "idle for 9s of its 1m30s grace", Local: "10.0.0.2:443", Peer: "10.0.0.7:50000"}
	got := shownAt(t, 40, func(p *Printer) error {
		p.Nodes = true
		rows := p.SocketRows(false)
		rows.Add("node-1", v)
		return rows.Flush()
	})
	if strings.Contains(got, "idle 9s") || !strings.Contains(strings.Join(strings.Fields(got), " "), v.Why) {
		t.Errorf("got\n%s", got)
	}
}

func TestNodesWithTheSameFindingShareIt(t *testing.T) {
	s, l := apitest.QuietStatus(), Findings{}
	s.Mode.SwitchProblem = "no switch"
	for _, node := range []string{"node-1", "node-2"} {
		l.AddStatus(node, &s)
	}
	got := slices.Collect(strings.Lines(shownAt(t, 0, func(p *Printer) error { return p.PrintFindings(&l) })))
	if len(got) < 2 || !strings.HasPrefix(got[1], "! node-1, node-2: ") {
		t.Errorf("got %q", got)
	}
}
