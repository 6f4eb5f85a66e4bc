// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// leaksFlags are the flags of halfclose leaks.
type leaksFlags struct {
	query   api.LeakQuery
	verdict verdictValue
}

func leaksCommand(e *env) *cobra.Command {
	var f leaksFlags
	cmd := &cobra.Command{
		Use:   "leaks",
		Short: "List leaks: groups of sockets that stay half-closed",
		Long: `List leaks: the half-closed sockets of each pod, owner, state and address in one
line, the largest group first.

A socket counts if one of its patiences has ended (its peer is, was or would be
asked, or it is past its grace), or if it made no progress for a minute. With
--all younger sockets count too, and sockets that the kernel closes on its own.

  ADDRESS   what the sockets have in common: a server's local address, or the
            address of a client's peer
  OLDEST    the time for which the oldest one has been half-closed
  GROWTH    sockets that became half-closed per minute, in the last 10 minutes
            or since the oldest one, and still are; "-" in the first minute
            after a pod is registered or the reaper has started

Notes below the table list the processes that keep the descriptors of ended
sockets, or are near their limit on open files.`,
		Example: `  halfclose leaks                          # who leaks, since when, how fast
  halfclose leaks -n shop --min 100
  halfclose leaks --owner java --older-than 1h
  halfclose leaks --peer 10.0.0.0/8 --state CLOSE_WAIT
  halfclose leaks -o json | jq '.groups[0].owners'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.leaks(cmd.Context(), f) },
	}
	q, flags := &f.query, cmd.Flags()
	flags.BoolVar(&q.All, "all", false, "count every half-closed socket, also the young ones")
	e.podFlags(cmd, &q.PodQuery, "only leaks")
	flags.Var(stateValue{&q.State}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	flags.Var(&f.verdict, "verdict", "only sockets with this verdict, such as peer-alive, unread-data or destroy")
	completeOneOf(cmd, "verdict", verdictNames()...)
	e.filterFlags(cmd, &q.SocketFilter)
	flags.IntVar(&q.Min, "min", 0, "only groups of at least `N` sockets")
	flags.IntVar(&q.Limit, "limit", 0, "only the `N` largest groups; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

// check validates the flags.
func (f *leaksFlags) check() error {
	switch q := &f.query; {
	case q.State != 0 && !q.State.HalfClosed():
		return usageError{fmt.Errorf("--state %v: only half-closed sockets can leak: CLOSE_WAIT or FIN_WAIT2", q.State)}
	case q.Min < 0 || q.Limit < 0 || q.Min > maxCount || q.Limit > maxCount:
		return usageError{fmt.Errorf("--min and --limit are numbers from 0 to %d", maxCount)}
	}
	return nil
}

const maxCount = 1_000_000_000

func (e *env) leaks(ctx context.Context, f leaksFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	q := f.query
	if f.verdict.set {
		q.Verdict = &f.verdict.reason
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	list, err := client.Leaks(ctx, q)
	if err != nil {
		return err
	}
	var s api.Status
	if list.Sockets == 0 {
		s, err = client.Status(ctx)
		if err != nil {
			return err
		}
		if isUnknown(q.PodQuery, s.Attachments) {
			return unknownPod(q.PodQuery, s)
		}
	}
	if e.printsObject() {
		err = e.printObject(list)
	} else {
		err = e.printLeaks(list)
	}
	e.noteStale(list.Stale)
	switch {
	case err != nil:
		return err
	case list.Sockets == 0 && len(s.Attachments) == 0:
		e.noteNothingRegistered(s)
	case len(list.Groups) == 0:
		e.note("%s", noLeaks(list))
	}
	if len(list.Problems) > 0 {
		return errors.New("some owners are missing: " + strings.Join(list.Problems, "; "))
	}
	return nil
}

// noLeaks explains an empty list.
func noLeaks(list api.LeakList) string {
	switch {
	case list.Sockets > 0:
		return "no group has that many sockets: " + describe.Plural(list.Sockets, "socket is", "sockets are") + " in smaller ones"
	case list.Young > 0:
		return "no leaks: " + describe.Plural(list.Young, "half-closed socket is", "half-closed sockets are") + " within a minute of progress; --all lists them"
	}
	return "no leaks: no half-closed socket matches"
}

// printLeaks prints the groups, and below them the processes that hold descriptors.
func (e *env) printLeaks(list api.LeakList) error {
	wide := e.output == outputWide
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
	t := e.table(cols...)
	for _, g := range list.Groups {
		row := []string{
			describe.Pod(g.Pod, g.ContainerID), leakOwner(g), g.State.String(), roleText(g.Role), leakAddress(g), strconv.Itoa(g.Sockets),
			describe.Age(g.Oldest), growthText(g.Growth), countsText(g.Verdicts),
		}
		if wide {
			row = append(row, describe.Age(g.Newest), strconv.FormatUint(g.Unread, 10), strconv.Itoa(g.Held))
		}
		t.Row(row...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return e.printLeakNotes(list)
}

// printLeakNotes prints what the table does not show.
func (e *env) printLeakNotes(list api.LeakList) error {
	screen := e.screen()
	if list.Omitted > 0 {
		text := describe.Plural(list.Omitted, "smaller group is", "smaller groups are") + " not listed (--limit)."
		if _, err := fmt.Fprintln(e.out, term.Fill(screen.Width, "", "", text)); err != nil {
			return err
		}
	}
	var l findingList
	for _, f := range describe.LeakFindings(&list) {
		what, todo := f.Advice()
		l.add(what, "", todo)
	}
	return e.printFindings(screen, l.list)
}

// leakOwner names the processes that hold a group's sockets.
func leakOwner(g api.LeakGroup) string {
	switch g.OwnerCount {
	case 0:
		return "-"
	case 1:
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

// growthText returns a growth, such as "+12/m".
func growthText(perMinute *float64) string {
	switch {
	case perMinute == nil:
		return "-"
	case *perMinute == 0:
		return "0"
	case *perMinute < 10:
		return "+" + strconv.FormatFloat(*perMinute, 'f', 1, 64) + "/m"
	}
	return "+" + strconv.FormatFloat(*perMinute, 'f', 0, 64) + "/m"
}

// countsText lists counts by verdict, the largest first.
func countsText(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	words := make([]string, 0, len(names))
	for _, name := range names {
		words = append(words, strconv.Itoa(counts[name])+" "+name)
	}
	return strings.Join(words, ", ")
}
