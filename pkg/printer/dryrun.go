// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// DryRunRows starts a table of the pods of a dry run.
func (p *Printer) DryRunRows() *Rows[api.DryRunPod] {
	cols := []term.Column{
		{Name: "POD"},
		{Name: "MODE"},
		{Name: "HALF-CLOSED", Right: true},
		{Name: "DESTROY", Right: true},
		{Name: "ASK", Right: true},
		{Name: "KEPT", Right: true},
		{Name: "CAPPED BY", Fold: 1, Lead: "  capped by "},
	}
	return newRows(p, cols, func(of api.DryRunPod) []string {
		return []string{
			describe.Pod(of.Pod, of.ContainerID), of.Mode.String(), strconv.Itoa(of.HalfClosed), strconv.Itoa(of.Destroys),
			strconv.Itoa(of.Questions), strconv.Itoa(of.Kept), strings.Join(of.CappedBy, "; "),
		}
	})
}

// PrintDryRun prints what a switch of a scope to destroy would do at once.
func (p *Printer) PrintDryRun(run *api.DryRun, scope state.Scope) error {
	if p.PrintsObject() {
		return p.PrintObject(run)
	}
	if len(run.Pods) > 0 {
		t := p.DryRunRows()
		t.Add("", run.Pods...)
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(p.Out)
	}
	s, command := p.Screen(), "halfclose mode destroy"
	if !scope.IsNode() {
		command += " for " + safetext.Escape(scope.ScopeName())
	}
	text := fmt.Sprintf("%q would destroy %s and ask %s at once%s.", command, describe.Plural(run.Destroys, "socket", "sockets"),
		describe.Plural(run.Questions, "peer", "peers"), pace(run))
	fmt.Fprintln(p.Out, term.Fill(s.Width, "", "", text))
	if run.Questions > 0 {
		fmt.Fprintln(p.Out, term.Fill(s.Width, "", "", "The number of gone peers is unknown until they are asked. Mode observe asks no peer, so it finds no socket peer-gone."))
	}
	return nil
}
