// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// statusFlags are the flags of halfclose status.
type statusFlags struct {
	pods api.PodQuery
	all  bool
}

func statusCommand(e *env) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the reaper, the attachments and their problems",
		Long: `Show the reaper and the attachments on this node: for each pod the number of
half-closed sockets, the age of the oldest, the number past their grace
(OVERDUE), the number of destroyed sockets and the policy. Problems follow,
each with its fix. With --pod the whole policy is shown, with the source of
each value.

The counts are from the last sweep of each namespace. The interval between two
sweeps is at most a quarter of the namespace's shortest grace or probe-after.
"halfclose sockets --all" queries the kernel now.

The pod with the most half-closed sockets comes first. If there are more than
20 attachments, those without sockets, destroys and problems are only counted;
--all lists them. --output json has every field.`,
		Example: `  halfclose status
  halfclose status --pod shop/web-1
  halfclose status --all -o wide | grep observe
  halfclose status -o json | jq '.attachments[] | select(.warnings)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.status(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "list attachments without sockets, destroys and problems too")
	e.podFlags(cmd, &f.pods, "only attachments")
	e.tableFlags(cmd)
	return cmd
}

func (e *env) status(ctx context.Context, f statusFlags) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	registered := len(s.Attachments) > 0
	builds := buildFindings(s, buildinfo.Get().Build()) // of all attachments
	if isUnknown(f.pods, s.Attachments) {
		return unknownPod(f.pods, s)
	}
	s.Attachments = slices.DeleteFunc(s.Attachments, func(a api.AttachmentView) bool { return !f.pods.Covers(a.Pod, a.ContainerID) })
	if e.printsObject() {
		err = e.printObject(s)
	} else {
		err = e.printStatus(s, statusView{all: f.all || !f.pods.IsZero(), policies: f.pods.Pod != ""}, builds...)
	}
	if err == nil && !registered && e.printsObject() { // the text has it as a finding
		e.noteNothingRegistered(s)
	}
	return err
}

// statusView selects the parts of a status, besides the summary and the problems.
type statusView struct {
	all      bool // quiet attachments too
	policies bool // the policies, with the source of each value
}

func (e *env) printStatus(s api.Status, v statusView, first ...finding) error {
	sc := e.screen()
	line := func(label, text string) {
		fmt.Fprintln(e.out, term.Fill(sc.Width, fmt.Sprintf("%-10s", label), strings.Repeat(" ", 10), safetext.Escape(text)))
	}
	line("Reaper", fmt.Sprintf("%s, version %s", s.Holder, s.Version.Version))
	line("Finder", finderText(s.Finder))
	line("Mode", describe.Mode(s.Mode))
	if text := e.policyFileText(s.PolicyFile); text != "" {
		line("Policies", text)
	}
	line("Found", fmt.Sprintf("%d CLOSE_WAIT, %d FIN_WAIT2 in %s",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()], describe.Plural(s.Namespaces, "namespace", "namespaces")))
	line("Destroyed", fmt.Sprintf("%d (%d would have been, %d queued%s)",
		describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy), s.Budget.Waiting, refused(s.Counts.Errors)))
	line("Adopted", describe.Adoption(s.Adoption))
	line("Peers", describe.Peers(s.Peers, s.Counts.WouldAsk)+goneText(s.Counts.PeerGone))
	fmt.Fprintln(e.out)
	if err := e.printAttachments(sc, s.Attachments, v.all); err != nil {
		return err
	}
	if v.policies {
		if err := e.printPolicies(sc, s.Attachments); err != nil {
			return err
		}
	}
	return e.printFindings(sc, append(first, findings(s)...))
}

// printPolicies prints each distinct policy of the attachments, with the source of each value.
func (e *env) printPolicies(sc term.Screen, list []api.AttachmentView) error {
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
		for _, v := range policyValues(policy.Policy(a.Policy)) {
			text := v.value
			if from := a.Sources[v.key]; from != "" {
				text += " (" + safetext.Escape(from) + ")"
			}
			first, rest := fmt.Sprintf("  %-20s", v.name), strings.Repeat(" ", 22)
			if sc.Width > 0 && sc.Width < 50 {
				first, rest, text = "  ", "    ", v.name+" "+text
			}
			b.WriteString(term.Fill(sc.Width, first, rest, text) + "\n")
		}
	}
	_, err := fmt.Fprint(e.out, b.String())
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
