// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// simulateFlags are the flags of halfclose simulate.
type simulateFlags struct {
	grace, probeAfter policy.Patience
	suggest           bool
	since             string
	pods              api.PodQuery
	state             inetdiag.State
	role              policy.Role
}

func simulateCommand(e *env) *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Estimate what another grace would have done",
		Long: `Estimate what another grace would have done, from the idle times of half-closed
sockets:

  SOCKETS    half-closed sockets with an owner, ended or not
  DESTROYED  idle for the grace or longer: it would have destroyed them
  WRONG      destroyed before they moved another byte
  PENDING    idle as long with unread or unacknowledged bytes: kept until
             pendingGrace
  ASKED      their peers would have been asked before the end of the grace

halfclose looks at a socket from time to time, so it knows idle times up to the
distance of its looks: 10-12 is 10 at least and 12 at most. A socket that closed
later may have moved its last bytes just before, so it counts as wrong at most.
Exempt sockets and pods with mode off do not count. The estimate ignores
frozen owners, other ends on the same node, and "above" rules: with them fewer
are destroyed.

A grace below twice the distance of looks cannot be estimated: start the reaper
with --sample to have more looks. Nor can one above the grace in force, in mode
destroy: the sockets were destroyed before.

With --suggest the answer is the shortest grace without a wrong destroy, even at
most.

The reaper writes the idle times each minute, and keeps them for 14 days. The
command needs no running reaper.`,
		Example: `  halfclose simulate --grace 2m
  halfclose simulate --grace 10m --since 48h --pod shop/web-1
  halfclose simulate --suggest --role client --state CLOSE_WAIT
  halfclose simulate --grace 2m -o json | jq .total.wrong.most`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.simulate(&f) },
	}
	flags := cmd.Flags()
	flags.Var(&patienceValue{&f.grace}, "grace", "estimate this `GRACE`, such as 2m")
	flags.BoolVar(&f.suggest, "suggest", false, "find the shortest grace without a wrong destroy")
	f.probeAfter = policy.Default().ProbeAfter
	flags.Var(&patienceValue{&f.probeAfter}, "probe-after", "`TIME` after which peers would be asked, or never")
	flags.StringVar(&f.since, "since", "", "only sockets since this `time`: 48h, 15:04 or 2006-01-02T15:04:05Z (default 7 days ago)")
	e.podFlags(cmd, &f.pods, "only sockets")
	flags.Var(flagvalue.State{To: &f.state}, "state", "only sockets in this state: CLOSE_WAIT or FIN_WAIT2")
	completeOneOf(cmd, "state", inetdiag.CloseWait.String(), inetdiag.FinWait2.String())
	flags.Var(roleValue{&f.role}, "role", "only sockets with this role: client or server")
	completeOneOf(cmd, "role", policy.RoleClient.String(), policy.RoleServer.String())
	e.tableFlags(cmd)
	return cmd
}

// patienceValue is the value of a flag with a patience.
type patienceValue struct{ to *policy.Patience }

func (v *patienceValue) Type() string { return "time" }

func (v *patienceValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return v.to.String()
}

// Set parses a patience.
func (v *patienceValue) Set(text string) error { return v.to.UnmarshalText([]byte(text)) }

// roleValue is the value of --role.
type roleValue struct{ to *policy.Role }

func (v roleValue) Type() string { return "role" }

func (v roleValue) String() string {
	if v.to == nil || *v.to == policy.RoleUnknown {
		return ""
	}
	return v.to.String()
}

// Set parses the name of a role.
func (v roleValue) Set(text string) error {
	if err := v.to.UnmarshalText([]byte(text)); err != nil || *v.to == policy.RoleUnknown {
		return errors.New("want client or server")
	}
	return nil
}

// simulation is the answer as JSON.
type simulation struct {
	Grace      policy.Patience `json:"grace,omitzero"` // absent if none can be suggested
	ProbeAfter policy.Patience `json:"probeAfter"`
	// From and AsOf are the times of the first and the last data, Hours the number of hours with data.
	From  time.Time `json:"from"`
	AsOf  time.Time `json:"asOf"`
	Hours int       `json:"hours"`
	// LookDistance is the longest time between two looks, GraceInForce the shortest in mode destroy, absent if there was none.
	LookDistance api.Seconds      `json:"lookDistanceSeconds"`
	GraceInForce policy.Patience  `json:"graceInForce,omitzero"`
	Total        simulate.Outcome `json:"total"`
	Pods         []simulatedPod   `json:"pods"`
	// IgnoringClosed is the shortest grace without a wrong destroy if no owner sent a last answer, and Tried the outcomes of the
	// graces up to the suggested one.
	IgnoringClosed policy.Patience `json:"ignoringClosed,omitzero"`
	Tried          []trial         `json:"tried,omitempty"`
}

type simulatedPod struct {
	Pod         state.Pod `json:"pod"`
	ContainerID string    `json:"containerID,omitempty"` // if the pod is unknown
	Other       bool      `json:"other,omitempty"`       // all pods beyond the limit on their number
	simulate.Outcome
}

type trial struct {
	Grace policy.Patience `json:"grace"`
	simulate.Outcome
}

// maxDataAge is the age from which the data lack what a running reaper would have written.
const maxDataAge = 150 * time.Second

func (e *env) simulate(f *simulateFlags) error {
	switch {
	case (f.grace != 0) == f.suggest: // cobra's check of groups comes after the usage errors
		return cmdline.AsUsage(errors.New("want either --grace GRACE or --suggest"))
	case f.grace == policy.Never:
		return cmdline.AsUsage(errors.New("--grace never destroys nothing: want a duration such as 2m"))
	case !f.suggest && f.grace < policy.Patience(simulate.Shortest):
		return cmdline.AsUsage(fmt.Errorf("--grace %v is too short: want %v or longer", f.grace, simulate.Shortest))
	}
	since := e.Clock().Add(-7 * 24 * time.Hour)
	if f.since != "" {
		var err error
		if since, err = flagvalue.ParseSince(f.since, e.Clock()); err != nil {
			return cmdline.AsUsage(err)
		}
	}
	store := simulate.NewStore(simulate.Dir(e.stateDir))
	hours, problems, err := store.Since(since, e.Clock())
	for _, p := range problems {
		e.note("skipped a file: %v", p)
	}
	if err != nil {
		return err
	}
	d := simulate.NewData(hours)
	if len(hours) == 0 {
		return fmt.Errorf("no idle times since %s in %s: a running reaper writes them each minute", e.Stamp(since), store.Dir())
	}
	q := simulate.Query{Grace: time.Duration(f.grace), ProbeAfter: f.probeAfter, State: f.state, Role: f.role, Covers: coversPods(f.pods)}
	if d.Estimate(&q).Total.Sockets == 0 {
		return fmt.Errorf("no half-closed socket matches since %s", e.Stamp(d.From))
	}
	s := simulation{ProbeAfter: f.probeAfter, From: d.From, AsOf: d.AsOf, Hours: d.Hours}
	if f.suggest {
		return e.suggest(d, q, &s)
	}
	s.Grace = f.grace
	limits := d.Limits(&q)
	if err := refuse(time.Duration(f.grace), &limits); err != nil {
		return err
	}
	s.fill(d, &q, &limits)
	if e.PrintsObject() {
		return e.PrintObject(&s)
	}
	if err := e.printSimulation(&s); err != nil {
		return err
	}
	e.noteData(&s)
	return nil
}

// coversPods returns the filter of a query, nil if it covers all pods.
func coversPods(q api.PodQuery) func(simulate.Pod) bool {
	if q.IsZero() {
		return nil
	}
	return func(p simulate.Pod) bool {
		return !p.Other && q.Covers(state.Pod{Namespace: p.Namespace, Name: p.Name}, p.Container)
	}
}

// refuse returns why a grace cannot be estimated, nil if it can.
func refuse(grace time.Duration, l *simulate.Limits) error {
	switch text := policy.FormatDuration(grace); {
	case l.TooShort(grace):
		least := policy.FormatDuration((2*l.Distance + time.Second - 1).Truncate(time.Second))
		denser := ""
		if sample := (grace / 3).Truncate(time.Second); sample > 0 {
			denser = fmt.Sprintf(", or start the reaper with --sample %s and use --since with a later time", policy.FormatDuration(sample))
		}
		return fmt.Errorf("cannot estimate a grace of %s: looks at the sockets were up to %s apart, and a grace needs two looks: use --grace %s or longer%s",
			text, policy.FormatAge(l.Distance), least, denser)
	case l.TooLong(grace):
		return fmt.Errorf("cannot estimate a grace of %s: a grace of %s was in force (%s), so it is unknown what sockets would have done after it: "+
			"use --grace %[2]s or shorter, select other pods, states or roles, or observe with mode observe first",
			text, policy.FormatDuration(l.Grace), podName(l.GracePod))
	}
	return nil
}

func podName(p simulate.Pod) string {
	if p.Other {
		return "other pods"
	}
	return describe.Pod(state.Pod{Namespace: p.Namespace, Name: p.Name}, p.Container)
}

// fill adds the answer for a grace.
func (s *simulation) fill(d *simulate.Data, q *simulate.Query, l *simulate.Limits) {
	a := d.Estimate(q)
	s.Total, s.LookDistance, s.GraceInForce = a.Total, api.Seconds(l.Distance), policy.Patience(l.Grace)
	s.Pods = []simulatedPod{} // empty instead of null in JSON
	for _, p := range a.Pods {
		s.Pods = append(s.Pods, simulatedPod{
			Pod: state.Pod{Namespace: p.Namespace, Name: p.Name}, ContainerID: p.Container, Other: p.Other, Outcome: p.Outcome,
		})
	}
}

func outcomeColumns(first string) []term.Column {
	return []term.Column{
		{Name: first},
		{Name: "SOCKETS", Right: true, Fold: 5, Lead: ", sockets "},
		{Name: "DESTROYED", Right: true, Fold: 2, Lead: ", destroyed "},
		{Name: "WRONG", Right: true, Fold: 1, Lead: ", wrong "},
		{Name: "PENDING", Right: true, Fold: 4, Lead: ", pending "},
		{Name: "ASKED", Right: true, Fold: 3, Lead: ", asked "},
	}
}

func outcomeCells(first string, o *simulate.Outcome) []string {
	return []string{first, strconv.FormatUint(o.Sockets, 10), o.Destroyed.String(), o.Wrong.String(), strconv.FormatUint(o.Pending, 10), o.Asked.String()}
}

// printSimulation prints a row for each pod, and the total.
func (e *env) printSimulation(s *simulation) error {
	t := e.NewTable(outcomeColumns("POD")...)
	for i := range s.Pods {
		p := &s.Pods[i]
		t.Row(outcomeCells(podName(simulate.Pod{Namespace: p.Pod.Namespace, Name: p.Pod.Name, Container: p.ContainerID, Other: p.Other}), &p.Outcome)...)
	}
	t.Row(outcomeCells("total", &s.Total)...)
	return t.Flush()
}

// noteData describes the data of an answer, and what the answer lacks.
func (e *env) noteData(s *simulation) {
	e.note("estimated from %s to %s, %s with data; looks were up to %s apart",
		e.Stamp(s.From), e.Stamp(s.AsOf), describe.Plural(s.Hours, "hour", "hours"), policy.FormatAge(time.Duration(s.LookDistance)))
	if s.Total.Closed > 0 {
		e.note("wrong at most includes %s: a last answer just before the close is invisible",
			describe.Plural(s.Total.Closed, "socket that closed later", "sockets that closed later"))
	}
	if e.Clock().Sub(s.AsOf) > maxDataAge {
		e.note("no reaper has written since %s: later sockets are missing", e.Stamp(s.AsOf))
	}
}

// suggest prints the shortest grace without a wrong destroy, and the outcomes of the shorter ones.
func (e *env) suggest(d *simulate.Data, q simulate.Query, s *simulation) error {
	found := d.Suggest(q)
	s.Grace, s.IgnoringClosed = policy.Patience(found.Grace), policy.Patience(found.IgnoringClosed)
	for i := range found.Tried {
		s.Tried = append(s.Tried, trial{policy.Patience(found.Tried[i].Grace), found.Tried[i].Outcome})
	}
	if q.Grace = found.Grace; q.Grace == 0 && len(found.Tried) > 0 {
		q.Grace = found.Tried[len(found.Tried)-1].Grace
	}
	if q.Grace > 0 {
		s.fill(d, &q, &found.Limits)
	}
	if e.PrintsObject() {
		if err := e.PrintObject(s); err != nil {
			return err
		}
		return noSuggestion(&found)
	}
	if found.Grace > 0 {
		fmt.Fprintf(e.Out, "Suggested grace: %v\n\n", s.Grace)
	}
	if len(s.Tried) > 0 {
		t := e.NewTable(outcomeColumns("GRACE")...)
		for i := range s.Tried {
			t.Row(outcomeCells(s.Tried[i].Grace.String(), &s.Tried[i].Outcome)...)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	e.noteData(s)
	if found.Grace > 0 && s.Total.Destroyed.Most == 0 {
		e.note("no socket was idle for %v: that grace would have destroyed none", s.Grace)
	}
	if found.IgnoringClosed > 0 && found.IgnoringClosed != found.Grace {
		e.note("if no answer was sent just before a close, %v is enough", s.IgnoringClosed)
	}
	return noSuggestion(&found)
}

// noSuggestion returns why no grace can be suggested, nil if one can.
func noSuggestion(s *simulate.Suggestion) error {
	switch {
	case s.Grace > 0:
		return nil
	case len(s.Tried) == 0 && s.Limits.Grace > 0:
		return fmt.Errorf("no grace can be estimated: looks were up to %s apart, and a grace of %s was in force (%s): "+
			"start the reaper with --sample, or observe with mode observe first",
			policy.FormatAge(s.Limits.Distance), policy.FormatDuration(s.Limits.Grace), podName(s.Limits.GracePod))
	case len(s.Tried) == 0:
		return fmt.Errorf("no grace can be estimated: looks were up to %s apart: start the reaper with --sample", policy.FormatAge(s.Limits.Distance))
	case s.Limits.Grace > 0:
		return fmt.Errorf("no grace up to %s, which was in force (%s), is certainly without a wrong destroy: observe with mode observe to learn about longer ones",
			policy.FormatDuration(s.Limits.Grace), podName(s.Limits.GracePod))
	}
	last := s.Tried[len(s.Tried)-1].Grace
	return fmt.Errorf("no grace up to %s is certainly without a wrong destroy: some sockets are in use, however long they are idle: exempt them",
		policy.FormatDuration(last))
}
