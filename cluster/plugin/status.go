// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

func statusCommand(e *env) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the reaper of each node, and its problems",
		Long: `Show one line for each node: version, mode, half-closed sockets, the age of the
oldest, those past their grace (OVERDUE), and destroyed sockets. The sum of all
nodes and their problems follow, each with its fix.

With -n, --pod or --all the attachments are listed too, as "halfclose status"
does on a node.`,
		Example: `  kubectl halfclose status
  kubectl halfclose status -n shop
  kubectl halfclose status -o json | jq '.reapers[] | {node, version}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.status(cmd.Context(), all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "list all attachments")
	e.podFlag(cmd, "list the attachments")
	e.tableFlags(cmd)
	return cmd
}

// reaper is the status of one node.
type reaper struct {
	api.Status
	raw json.RawMessage
}

// readReaper reads a status.
func readReaper(_ fleet.Agent, r io.Reader) (s reaper, err error) {
	rest, err := fleet.ReadObject(r, "", nil)
	if err != nil {
		return s, err
	}
	if s.raw, err = json.Marshal(rest); err == nil {
		err = json.Unmarshal(s.raw, &s.Status)
	}
	return s, err
}

// totals are the sums of all nodes.
type totals struct {
	Nodes        int            `json:"nodes"` // that answered
	Sockets      map[string]int `json:"sockets"`
	Overdue      int            `json:"overdue"` // past their grace
	Oldest       api.Seconds    `json:"oldestSeconds"`
	Destroyed    uint64         `json:"destroyed"`
	WouldDestroy uint64         `json:"wouldDestroy"`
	PeerGone     uint64         `json:"peerGone"`
}

func (t *totals) add(s *api.Status) {
	t.Nodes++
	if t.Sockets == nil {
		t.Sockets = map[string]int{inetdiag.CloseWait.String(): 0, inetdiag.FinWait2.String(): 0}
	}
	for state, n := range s.Candidates {
		t.Sockets[state] += n
	}
	t.Overdue += overdueOf(s)
	t.Oldest = max(t.Oldest, oldestOf(s))
	t.Destroyed += describe.Total(s.Counts.Destroyed)
	t.WouldDestroy += describe.Total(s.Counts.WouldDestroy)
	t.PeerGone += s.Counts.PeerGone
}

func overdueOf(s *api.Status) (n int) {
	for _, counts := range []api.AgeCounts{s.Ages.CloseWait, s.Ages.FinWait2} {
		for _, sockets := range counts.Overdue {
			n += sockets
		}
	}
	return n
}

func oldestOf(s *api.Status) (oldest api.Seconds) {
	for i := range s.Attachments {
		oldest = max(oldest, s.Attachments[i].Oldest)
	}
	return oldest
}

func (e *env) status(ctx context.Context, all bool) error {
	q, err := e.pods()
	if err != nil {
		return err
	}
	of, err := e.discover(ctx, q)
	if err != nil {
		return err
	}
	answers, err := ask(ctx, e, of, []string{"status", "--output=json"}, readReaper)
	if err != nil {
		return err
	}
	var sum totals
	var findings printer.Findings
	reapers := []nodeItem[reaper]{}
	attachments := []printer.NodeAttachment{}
	for i := range answers {
		a := &answers[i]
		if a.Failure != nil {
			continue
		}
		s := &a.Value.Status
		sum.add(s)
		findings.AddBuilds(a.Node, s, e.build.Build())
		findings.AddStatus(a.Node, s)
		reapers = append(reapers, nodeItem[reaper]{a.Node, a.Value.raw, a.Value})
		for _, at := range s.Attachments {
			if q.Covers(at.Pod, at.ContainerID) {
				attachments = append(attachments, printer.NodeAttachment{Node: a.Node, AttachmentView: at})
			}
		}
	}
	views := nodesOf[reaper](of, answers, nil)
	isUnknown := !q.IsZero() && len(attachments) == 0 && !slices.ContainsFunc(views, func(v nodeView) bool { return v.Failure != nil })
	switch {
	case isUnknown:
		return noSuch(q)
	case e.printer.PrintsObject():
		err = e.printer.PrintObject(struct {
			Reapers []nodeItem[reaper] `json:"reapers"`
			Totals  totals             `json:"totals"`
			Nodes   []nodeView         `json:"nodes"`
		}{reapers, sum, views})
	default:
		err = e.printReapers(reapers, &sum)
		if err == nil && (all || !q.IsZero()) {
			fmt.Fprintln(e.printer.Out)
			err = e.printer.PrintAttachments(attachments, all || !q.IsZero())
		}
		err = errors.Join(err, e.printer.PrintFindings(&findings))
	}
	if err != nil {
		return err
	}
	return e.finish(of, views)
}

// printReapers prints one row for each node, and their sum.
func (e *env) printReapers(reapers []nodeItem[reaper], sum *totals) error {
	cols := []term.Column{
		{Name: "NODE"},
		{Name: "VERSION", Fold: 6, Lead: ", version "},
		{Name: "MODE", Fold: 1, Lead: ", mode "},
		{Name: "FINDER", Fold: 7, Lead: ", finder "},
		{Name: "PODS", Right: true, Fold: 5, Lead: ", pods "},
		{Name: "CLOSE_WAIT", Right: true, Fold: 2, Lead: ", CLOSE_WAIT "},
		{Name: "FIN_WAIT2", Right: true, Fold: 2, Lead: ", FIN_WAIT2 "},
		{Name: "OLDEST", Right: true, Fold: 3, Lead: ", oldest "},
		{Name: "OVERDUE", Right: true, Fold: 4, Lead: ", past their grace "},
		{Name: "DESTROYED", Right: true, Fold: 4, Lead: ", destroyed "},
		{Name: "WOULD-DESTROY", Right: true, Fold: 5, Lead: ", would have been "},
		{Name: "PEER-GONE", Right: true, Fold: 5, Lead: ", peers gone "},
	}
	counts := func(sockets map[string]int, oldest api.Seconds, overdue int, destroyed, would, gone uint64) []string {
		age := "-"
		if oldest > 0 {
			age = describe.Age(oldest)
		}
		return []string{
			strconv.Itoa(sockets[inetdiag.CloseWait.String()]), strconv.Itoa(sockets[inetdiag.FinWait2.String()]), age, strconv.Itoa(overdue),
			strconv.FormatUint(destroyed, 10), strconv.FormatUint(would, 10), strconv.FormatUint(gone, 10),
		}
	}
	t := e.printer.NewTable(cols...)
	pods := 0
	for i := range reapers {
		s := &reapers[i].value.Status
		pods += len(s.Attachments)
		t.Row(append([]string{reapers[i].node, s.Version.Version, s.Mode.Effective.String(), s.Finder.Name, strconv.Itoa(len(s.Attachments))},
			counts(s.Candidates, oldestOf(s), overdueOf(s), describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy), s.Counts.PeerGone)...)...)
	}
	if len(reapers) > 1 {
		t.Row(append([]string{fmt.Sprintf("(%d nodes)", sum.Nodes), "", "", "", strconv.Itoa(pods)},
			counts(sum.Sockets, sum.Oldest, sum.Overdue, sum.Destroyed, sum.WouldDestroy, sum.PeerGone)...)...)
	}
	return t.Flush()
}
