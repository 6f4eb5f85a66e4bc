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

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// statusFlags are the flags of halfclose status.
type statusFlags struct {
	pod string
	all bool
}

func statusCommand(e *env) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the attachments, their policies and what was found in them",
		Long: `Show the reaper and the attachments on this node: the pod, how many half-closed
sockets it has and how old the oldest is, how many were destroyed, the policy that
applies, and then everything that is wrong, each with what to do about it. With --pod
the policy is shown in full, and where each of its values comes from.

What is counted is what there was at the last look into each namespace, a quarter
of its shortest patience ago at most. "halfclose sockets --all" looks now.

The pod with the most half-closed sockets comes first. Of more than 20 attachments
those in which there is nothing to see are counted only; --all lists them.
--output json has everything.`,
		Example: `  halfclose status
  halfclose status --pod shop/web-1
  halfclose status --all -o wide | grep observe
  halfclose status -o json | jq '.attachments[] | select(.warnings)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.status(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "list the attachments with nothing to see in them too")
	e.podFlag(cmd, &f.pod, "only the attachments of this pod")
	e.outputFlag(cmd)
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
	other := otherBuilds(s, buildinfo.Get().Build()) // of all attachments
	s.Attachments = slices.DeleteFunc(s.Attachments, func(a api.AttachmentView) bool { return !api.CoversPod(f.pod, a.Pod, a.ContainerID) })
	if e.output == outputJSON {
		err = printJSON(e.out, s)
	} else {
		err = e.printStatus(s, statusView{all: f.all || f.pod != "", policies: f.pod != ""}, other...)
	}
	if err == nil && f.pod != "" && len(s.Attachments) == 0 {
		e.note("%s", noSuchPod(f.pod))
	}
	return err
}

// statusView is what a status shows beside its summary and what is wrong.
type statusView struct {
	all      bool // the attachments with nothing to see in them too
	policies bool // of each attachment, with where each value comes from
}

func (e *env) printStatus(s api.Status, v statusView, first ...finding) error {
	sc := e.screen()
	line := func(label, text string) {
		fmt.Fprintln(e.out, term.Fill(sc.Width, fmt.Sprintf("%-10s", label), strings.Repeat(" ", 10), term.Clean(text)))
	}
	line("Reaper", fmt.Sprintf("%s, version %s", s.Holder, s.Version.Version))
	line("Finder", finderText(s.Finder))
	line("Mode", describe.Mode(s.Mode))
	line("Found", fmt.Sprintf("%d CLOSE_WAIT, %d FIN_WAIT2 in %s",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()], describe.Plural(s.Namespaces, "namespace", "namespaces")))
	line("Destroyed", fmt.Sprintf("%d (%d would have been, %d wait for the budget%s)",
		describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy), s.Budget.Waiting, refused(s.Counts.Errors)))
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

// printPolicies prints the policies of attachments with their sources, each policy once.
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
		b.WriteString("\n" + term.Fill(sc.Width, "", "", term.Clean(head)) + "\n")
		for _, v := range policyValues(policy.Policy(a.Policy)) {
			text := v.value
			if from := a.Sources[v.key]; from != "" {
				text += " (" + term.Clean(from) + ")"
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

// finderText returns the name of the finder, how it keeps up, and why it is not the cheapest one.
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
	return fmt.Sprintf("; %d gone, and so %s", n, map[bool]string{true: "is its socket", false: "are their sockets"}[n == 1])
}

func refused(errs map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		list = append(list, fmt.Sprintf(", %d refused with %s", errs[name], name))
	}
	return strings.Join(list, "")
}
