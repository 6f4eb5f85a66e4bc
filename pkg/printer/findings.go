// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// finding is a condition that needs the operator's attention.
type finding struct {
	what  string
	where []string // the nodes and attachments that have it
	todo  string
}

// Findings collects conditions that need the operator's attention. Nodes and attachments with the same one share a finding. In
// each method node is "" for the only node.
type Findings struct{ list []finding }

// AddBuilds adds a finding each if the plugin or this command is not from the reaper's build. The build of the plugin
// is that of the newest record: older records may be from before an upgrade. Reapers older than the field do not return it.
func (l *Findings) AddBuilds(node string, s *api.Status, command buildinfo.Build) {
	var newest api.AttachmentView
	for _, a := range s.Attachments {
		if a.Plugin != (buildinfo.Build{}) && !a.Recorded.Before(newest.Recorded) {
			newest = a
		}
	}
	reaper := s.Version.Build()
	add := func(what string, build buildinfo.Build) {
		if build != reaper && build != (buildinfo.Build{}) {
			l.add(fmt.Sprintf("%s is %s, and the reaper is %s", what, build, reaper), node,
				`install both from the same build: "halfclose install" for the plugin, a restart for the reaper; `+
					`a reaper that ADD started keeps its build until it exits, or until "halfclose reaper" or the service takes over`)
		}
	}
	add("the plugin", newest.Plugin)
	add("this command", command)
}

// AddStatus adds the findings of a status.
func (l *Findings) AddStatus(node string, s *api.Status) {
	for _, f := range describe.Findings(*s) {
		where := node
		if a := f.Attachment; a != nil {
			where = describe.Pod(a.Pod, a.ContainerID) + " " + a.IfName
			if node != "" {
				where += " on " + node
			}
		}
		what, todo := f.Advice()
		l.add(what, where, todo)
	}
}

// AddLeaks adds the findings of a list of leaks, such as processes that hold descriptors.
func (l *Findings) AddLeaks(node string, list *api.LeakList) {
	for _, f := range describe.LeakFindings(list) {
		what, todo := f.Advice()
		l.add(what, node, todo)
	}
}

// add adds a finding, or one more place to an equal finding.
func (l *Findings) add(what, where, todo string) {
	i := slices.IndexFunc(l.list, func(f finding) bool { return f.what == what && f.todo == todo })
	if i < 0 {
		i = len(l.list)
		l.list = append(l.list, finding{what: what, todo: todo})
	}
	if where != "" {
		l.list[i].where = append(l.list[i].where, where)
	}
}

// PrintFindings prints each finding with its advice.
func (p *Printer) PrintFindings(l *Findings) error {
	var b strings.Builder
	s, list := p.Screen(), l.list
	for i, f := range list {
		text := f.what
		if len(f.where) > 0 {
			text = firstFew(f.where) + ": " + text
		}
		text = term.Fill(s.Width, "! ", "  ", safetext.Escape(text))
		if i == 0 || f.todo != list[i-1].todo {
			b.WriteString("\n")
		}
		b.WriteString(s.Paint(term.Odd, text[:1]) + text[1:] + "\n")
		if i == len(list)-1 || f.todo != list[i+1].todo { // else the next finding has the same advice
			b.WriteString(term.Fill(s.Width, "  > ", "    ", safetext.Escape(f.todo)) + "\n")
		}
	}
	_, err := fmt.Fprint(p.Out, b.String())
	return err
}

// firstFew lists the first few names.
func firstFew(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}
