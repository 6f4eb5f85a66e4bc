// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// dryRunView is the object of kubectl halfclose mode destroy --dry-run.
type dryRunView struct {
	state.Scope
	Destroys  int                       `json:"destroys"`
	Questions int                       `json:"questions"`
	Pods      []nodeItem[api.DryRunPod] `json:"pods"`
	Nodes     []nodeView                `json:"nodes"`
}

// dryRun prints what a switch to destroy would do at once.
func (e *env) dryRun(ctx context.Context, of *fleetOf, q api.PodQuery) error {
	command := append([]string{"mode", "destroy", "--dry-run", "--output=json"}, podArgs(q)...)
	answers, err := ask(ctx, e, of, command, readList[api.DryRunPod]("pods", 0))
	if err != nil {
		return err
	}
	view := dryRunView{Scope: scopeOf(q), Pods: []nodeItem[api.DryRunPod]{}}
	for i := range answers {
		if a := &answers[i]; a.Failure == nil {
			view.Destroys += a.Value.number("destroys")
			view.Questions += a.Value.number("questions")
			view.Pods = append(view.Pods, a.Value.items...)
		}
	}
	view.Nodes = nodesOf(of, answers, list[api.DryRunPod].problems)
	if e.printer.PrintsObject() {
		err = e.printer.PrintObject(view)
	} else {
		err = e.printDryRun(&view)
	}
	if err != nil {
		return err
	}
	return e.finish(of, view.Nodes)
}

// printDryRun prints the pods of a dry run, and their sum.
func (e *env) printDryRun(view *dryRunView) error {
	if len(view.Pods) > 0 {
		rows := e.printer.DryRunRows()
		for _, p := range view.Pods {
			rows.Add(p.node, p.value)
		}
		if err := rows.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(e.printer.Out)
	}
	scope := ""
	if !view.IsNode() {
		scope = " for " + safetext.Escape(view.ScopeName())
	}
	text := fmt.Sprintf("\"kubectl halfclose mode destroy\"%s would destroy %s and ask %s at once.", scope,
		describe.Plural(view.Destroys, "socket", "sockets"), describe.Plural(view.Questions, "peer", "peers"))
	_, err := fmt.Fprintln(e.printer.Out, term.Fill(e.printer.Screen().Width, "", "", text))
	return err
}
