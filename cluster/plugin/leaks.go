// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/cluster/workload"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// socketFlags are the flags that select sockets.
type socketFlags struct {
	state   inetdiag.State
	verdict *policy.Reason
	filter  api.SocketFilter
}

func (f *socketFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(flagvalue.State{To: &f.state}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2")
	flags.Var(flagvalue.Verdict{To: &f.verdict}, "verdict", "only sockets with this verdict, such as peer-alive, unread-data or destroy")
	flags.Var(flagvalue.Peer{To: &f.filter.Peer}, "peer", "only sockets with this `PEER`: 10.0.0.7, 10.0.0.0/8, 10.0.0.7:443 or [fd00::7]:443")
	flags.Var(flagvalue.Port{To: &f.filter.Port}, "port", "only sockets with this local or peer `PORT`")
	flags.Var(flagvalue.Port{To: &f.filter.LocalPort}, "local-port", "only sockets with this local `PORT`")
	flags.Var(flagvalue.Port{To: &f.filter.PeerPort}, "peer-port", "only sockets with this `PORT` of the peer")
	flags.Var((*flagvalue.Duration)(&f.filter.OlderThan), "older-than", "only sockets that have been half-closed for this `DURATION`, such as 10m")
	flags.Var(flagvalue.Owner{To: &f.filter.Owner}, "owner", "only sockets that this `OWNER` holds: a process id, or a command such as java")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	completeOneOf(cmd, "verdict", flagvalue.Verdicts()...)
	completeOneOf(cmd, "older-than", "1m", "10m", "1h", "1d")
}

// args returns the arguments of halfclose.
func (f *socketFlags) args() (args []string) {
	text := func(flag, value string) {
		if value != "" {
			args = append(args, "--"+flag+"="+value)
		}
	}
	port := func(flag string, value uint16) {
		if value != 0 {
			text(flag, strconv.Itoa(int(value)))
		}
	}
	if f.state != 0 {
		text("state", f.state.String())
	}
	if f.verdict != nil {
		text("verdict", f.verdict.String())
	}
	text("peer", f.filter.Peer.String())
	port("port", f.filter.Port)
	port("local-port", f.filter.LocalPort)
	port("peer-port", f.filter.PeerPort)
	if f.filter.OlderThan > 0 {
		text("older-than", f.filter.OlderThan.Round(time.Second).String())
	}
	text("owner", f.filter.Owner)
	return args
}

// leaksFlags are the flags of kubectl halfclose leaks.
type leaksFlags struct {
	socketFlags
	all, perPod bool
	min, limit  int
}

// maxNodeGroups bounds the leaks that a node returns, the largest first.
const maxNodeGroups = 5000

func leaksCommand(e *env) *cobra.Command {
	f := leaksFlags{limit: 100}
	cmd := &cobra.Command{
		Use:   "leaks",
		Short: "List the workloads that leak half-closed sockets",
		Long: `List the leaks of the whole cluster, the largest first. One line has all sockets
of the pods of one workload with the same command, state, role, and address: the
peer's for a client, the local port for a server. A workload is a Deployment,
StatefulSet, DaemonSet, Job or CronJob; its name comes from those of its pods.

With --per-pod one line has the sockets of one process, as "halfclose leaks"
prints them on its node. What counts as a leak is described there.`,
		Example: `  kubectl halfclose leaks
  kubectl halfclose leaks -n shop --per-pod
  kubectl halfclose leaks --peer 10.0.0.0/8 --older-than 1h --min 100
  kubectl halfclose leaks -o json | jq '.workloads[0].pods'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.leaks(cmd.Context(), &f) },
	}
	f.add(cmd)
	e.podFlag(cmd, "only leaks")
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "count every half-closed socket, also the young ones")
	flags.BoolVar(&f.perPod, "per-pod", false, "one line for each process on its node")
	flags.IntVar(&f.min, "min", 0, "only leaks of at least `N` sockets")
	flags.IntVar(&f.limit, "limit", f.limit, "only the `N` largest leaks; 0 is all")
	e.tableFlags(cmd)
	return cmd
}

// check validates the flags.
func (f *leaksFlags) check() error {
	switch {
	case f.state != 0 && !f.state.HalfClosed():
		return cmdline.AsUsage(fmt.Errorf("--state %v: only half-closed sockets can leak: CLOSE_WAIT or FIN_WAIT2", f.state))
	case f.min < 0 || f.limit < 0:
		return cmdline.AsUsage(errors.New("--min and --limit are numbers of at least 0"))
	}
	return nil
}

func (e *env) leaks(ctx context.Context, f *leaksFlags) error {
	q, err := e.pods()
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return err
	}
	of, err := e.discover(ctx, q)
	if err != nil {
		return err
	}
	command := append([]string{"leaks", "--output=json", "--limit=" + strconv.Itoa(maxNodeGroups)}, append(podArgs(q), f.args()...)...)
	if f.all {
		command = append(command, "--all")
	}
	answers, err := ask(ctx, e, of, command, readList[api.LeakGroup]("groups", maxNodeGroups))
	if err != nil {
		return err
	}
	if isUnknownEverywhere(q, answers) {
		return noSuch(q)
	}
	var groups []nodeItem[api.LeakGroup]
	var leaks workload.Leaks
	var findings printer.Findings
	young := 0
	for i := range answers {
		a := &answers[i]
		if a.Failure != nil {
			continue
		}
		if n := a.Value.omitted + a.Value.number("omitted"); n > 0 {
			e.note("%s: %s not counted: only the %d largest are", a.Node, describe.Plural(n, "smaller leak is", "smaller leaks are"), maxNodeGroups)
		}
		young += a.Value.number("young")
		groups = append(groups, a.Value.items...)
		for j := range a.Value.items {
			leaks.Add(a.Node, &a.Value.items[j].value)
		}
		all, err := leakList(a.Value)
		if err != nil {
			e.note("%s: its processes with descriptors cannot be read: %v", a.Node, err)
		}
		findings.AddLeaks(a.Node, &all)
	}
	workloads := leaks.List()
	omitted := 0
	if f.perPod {
		sortLeaks(groups)
		groups, omitted = firstOf(groups, f.min, f.limit, func(g nodeItem[api.LeakGroup]) int { return g.value.Sockets })
	} else {
		workloads, omitted = firstOf(workloads, f.min, f.limit, func(l workload.Leak) int { return l.Sockets })
	}
	views := nodesOf(of, answers, list[api.LeakGroup].problems)
	switch {
	case e.printer.PrintsObject():
		err = e.printer.PrintObject(leaksView(f.perPod, groups, workloads, omitted, young, views))
	case f.perPod:
		rows := e.printer.LeakRows()
		for _, g := range groups {
			rows.Add(g.node, g.value)
		}
		err = errors.Join(rows.Flush(), e.printer.PrintOmitted(omitted), e.printer.PrintFindings(&findings))
	default:
		err = errors.Join(e.printWorkloads(workloads), e.printer.PrintOmitted(omitted), e.printer.PrintFindings(&findings))
	}
	if err != nil {
		return err
	}
	noteStale(e, answers)
	if len(groups) == 0 && !e.printer.PrintsObject() {
		text := "no leaks: no half-closed socket matches"
		if young > 0 {
			text = "no leaks: " + describe.Plural(young, "half-closed socket is", "half-closed sockets are") + " within a minute of progress; --all lists them"
		}
		e.note("%s", text)
	}
	return e.finish(of, views)
}

// firstOf returns the elements with at least a number of sockets, and of these at most limit, and how many more there are. The
// list is sorted by sockets.
func firstOf[T any](all []T, least, limit int, sockets func(T) int) (first []T, omitted int) {
	n := 0
	for n < len(all) && sockets(all[n]) >= least {
		n++
	}
	all = all[:n]
	if limit > 0 && n > limit {
		return all[:limit], n - limit
	}
	return all, 0
}

// printWorkloads prints the leaks of workloads.
func (e *env) printWorkloads(leaks []workload.Leak) error {
	wide := e.printer.Format == printer.Wide
	cols := []term.Column{
		{Name: "WORKLOAD"},
		{Name: "OWNER", Fold: 5, Lead: ", held by "},
		{Name: "STATE", Fold: 3, Lead: ", "},
		{Name: "ROLE", Fold: 6, Lead: ", "},
		{Name: "ADDRESS", Fold: 4, Lead: ", "},
		{Name: "SOCKETS", Right: true, Fold: 1, Lead: ", sockets "},
		{Name: "OLDEST", Right: true, Fold: 2, Lead: ", oldest "},
		{Name: "GROWTH", Right: true, Fold: 7, Lead: ", growth "},
		{Name: "PODS", Right: true, Fold: 7, Lead: ", pods "},
		{Name: "NODES", Right: true, Fold: 7, Lead: ", nodes "},
		{Name: "VERDICTS", Fold: 8, Lead: ": "},
	}
	if wide {
		cols = append(cols, term.Column{Name: "NEWEST", Right: true}, term.Column{Name: "UNREAD", Right: true}, term.Column{Name: "HELD", Right: true},
			term.Column{Name: "POD NAMES"}, term.Column{Name: "NODE NAMES"})
	}
	t := e.printer.NewTable(cols...)
	for i := range leaks {
		l := &leaks[i]
		owner, role := l.Command, l.Role.String()
		if owner == "" {
			owner = "-"
		}
		if l.Role == policy.RoleUnknown {
			role = "-"
		}
		row := []string{
			l.Name(), owner, l.State.String(), role, l.Address(), strconv.Itoa(l.Sockets), describe.Age(l.Oldest), describe.Growth(l.Growth),
			strconv.Itoa(len(l.Pods)), strconv.Itoa(len(l.Nodes)), describe.Counts(l.Verdicts),
		}
		if wide {
			row = append(row, describe.Age(l.Newest), strconv.FormatUint(l.Unread, 10), strconv.Itoa(l.Held), strings.Join(l.Pods, ","), strings.Join(l.Nodes, ","))
		}
		t.Row(row...)
	}
	return t.Flush()
}
