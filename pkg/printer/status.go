// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// StatusParts selects the parts of a status, besides the summary and the problems.
type StatusParts struct {
	All      bool // quiet attachments too
	Policies bool // the policies, with the source of each value
}

// PrintStatus prints the status of one node. Its problems come last, after earlier findings.
func (p *Printer) PrintStatus(s *api.Status, parts StatusParts, findings Findings) error {
	sc := p.Screen()
	line := func(label, text string) { fmt.Fprint(p.Out, labelled(sc, label, text)) }
	line("Reaper", fmt.Sprintf("%s, version %s", s.Holder, s.Version.Version))
	line("Finder", finderText(s.Finder))
	line("Mode", describe.Mode(s.Mode))
	if text := p.policyFileText(s.PolicyFile); text != "" {
		line("Policies", text)
	}
	line("Found", fmt.Sprintf("%d CLOSE_WAIT, %d FIN_WAIT2 in %s",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()], describe.Plural(s.Namespaces, "namespace", "namespaces")))
	line("Destroyed", fmt.Sprintf("%d (%d would have been, %d queued%s)",
		describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy), s.Budget.Waiting, refused(s.Counts.Errors)))
	line("Adopted", describe.Adoption(s.Adoption))
	line("Peers", describe.Peers(s.Peers, s.Counts.WouldAsk)+goneText(s.Counts.PeerGone))
	fmt.Fprintln(p.Out)
	list := make([]NodeAttachment, 0, len(s.Attachments))
	for _, a := range s.Attachments {
		list = append(list, NodeAttachment{AttachmentView: a})
	}
	if err := p.PrintAttachments(list, parts.All); err != nil {
		return err
	}
	if parts.Policies {
		if err := p.printPolicies(sc, s.Attachments); err != nil {
			return err
		}
	}
	findings.AddStatus("", s)
	return p.PrintFindings(&findings)
}

// printPolicies prints each distinct policy of the attachments, with the source of each value.
func (p *Printer) printPolicies(sc term.Screen, list []api.AttachmentView) error {
	type shown struct {
		policy  api.PolicyView
		sources policy.Sources
	}
	var all []shown
	var b strings.Builder
	for _, a := range list {
		one := shown{a.Policy, a.Sources}
		if slices.ContainsFunc(all, func(s shown) bool { return reflect.DeepEqual(s, one) }) {
			continue
		}
		all = append(all, one)
		head := "Policy"
		if len(list) > 1 {
			head += " of " + describe.Pod(a.Pod, a.ContainerID) + " " + a.IfName
		}
		b.WriteString("\n" + term.Fill(sc.Width, "", "", safetext.Escape(head)) + "\n")
		for _, v := range describe.PolicyValues(policy.Policy(a.Policy)) {
			text := v.Value
			if from := a.Sources[v.Key]; from != "" {
				text += " (" + safetext.Escape(from) + ")"
			}
			first, rest := fmt.Sprintf("  %-20s", v.Name), strings.Repeat(" ", 22)
			if sc.Width > 0 && sc.Width < 50 {
				first, rest, text = "  ", "    ", v.Name+" "+text
			}
			b.WriteString(term.Fill(sc.Width, first, rest, text) + "\n")
		}
	}
	_, err := fmt.Fprint(p.Out, b.String())
	return err
}

// finderText returns the finder's name, cost and delay, and the reason if it is not the cheapest one.
func finderText(f api.FinderView) string {
	text := fmt.Sprintf("%s, %s, %s of CPU%s", f.Name, describe.Plural(f.Sweeps, "sweep", "sweeps"), describe.Age(f.CPU), describe.Late(f))
	if f.Room > 0 {
		text += fmt.Sprintf(", %d of %s in the kernel's set", f.Known, describe.Plural(f.Room, "socket", "sockets"))
	}
	if f.Missed > 0 {
		text += fmt.Sprintf(", %d missed at first", f.Missed)
	}
	if f.Why != "" {
		text += "; " + f.Why
	}
	if len(f.Crowded) > 0 {
		text += "; swept on their own for their many half-closed sockets: " + describe.Crowded(f.Crowded)
	}
	return text
}

func goneText(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d gone: the kernel closed %s", n, map[bool]string{true: "its socket", false: "their sockets"}[n == 1])
}

func refused(errs map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		list = append(list, fmt.Sprintf(", %d refused with %s", errs[name], name))
	}
	return strings.Join(list, "")
}
