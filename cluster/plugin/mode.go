// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// modeFlags are the flags of kubectl halfclose mode.
type modeFlags struct {
	mode        policy.Mode // 0 shows it
	lasts       flagvalue.Duration
	reason      string
	dryRun, yes bool
}

// maxReason is the longest --reason, and maxWho the longest name of a user, in bytes.
const (
	maxReason = 256
	maxWho    = 100
)

func modeCommand(e *env) *cobra.Command {
	var f modeFlags
	cmd := &cobra.Command{
		Use:   "mode [destroy|observe]",
		Short: "Show or set the mode of all nodes, of a namespace or of a pod",
		Long: `Show the mode of each node, or set a switch on all nodes: the nodes' own, or with
-n or --pod that of a namespace or a pod. "halfclose mode --help" describes
switches.

The switch of a namespace or a pod is set on every node, so that it holds for a
pod that moves. A node that joins the cluster later has no switch: use the chart
for what must hold there too.

The command prints the result of each node, names those on which the switch did
not take effect, and exits with 3 if there are some.

"mode destroy" for whole nodes shows what it would destroy, and asks before it
does. Without a terminal it needs --yes.`,
		Example: `  kubectl halfclose mode                           # of each node
  kubectl halfclose mode observe                   # stop destroying everywhere
  kubectl halfclose mode observe -n shop --for 2h --reason INC-7
  kubectl halfclose mode destroy --dry-run         # what would go at once
  kubectl halfclose mode destroy                   # revert "mode observe"`,
		Args:      func(_ *cobra.Command, args []string) error { return flagvalue.CheckSwitchMode(args) },
		ValidArgs: flagvalue.SwitchModes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := f.mode.UnmarshalText([]byte(args[0])); err != nil {
					return cmdline.AsUsage(err)
				}
			}
			return e.mode(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.Var(&f.lasts, "for", "observe for `DURATION`, such as 2h or 1d; then the switch ends on its own")
	flags.StringVar(&f.reason, "reason", "", "`TEXT` for other operators, shown with the switch")
	flags.BoolVar(&f.dryRun, "dry-run", false, "with destroy: only print what would be destroyed and asked at once")
	flags.BoolVarP(&f.yes, "yes", "y", false, "with destroy: do not ask")
	completeOneOf(cmd, "for", "30m", "2h", "1d")
	e.podFlag(cmd, "the switch")
	e.tableFlags(cmd)
	return cmd
}

// check checks the combination of flags.
func (f *modeFlags) check() error {
	switch {
	case f.mode != policy.Observe && (f.lasts != 0 || f.reason != ""):
		return cmdline.AsUsage(errors.New("--for and --reason need observe"))
	case f.mode != policy.Destroy && (f.dryRun || f.yes):
		return cmdline.AsUsage(errors.New("--dry-run and --yes need destroy"))
	case len(f.reason) > maxReason:
		return cmdline.AsUsage(fmt.Errorf("--reason has %d bytes, more than the limit of %d", len(f.reason), maxReason))
	}
	return nil
}

func (e *env) mode(ctx context.Context, f *modeFlags) error {
	q, err := e.pods()
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return err
	}
	of, err := e.discover(ctx, api.PodQuery{}) // a switch of a pod holds on each node to which the pod moves
	if err != nil {
		return err
	}
	if q.Namespace != "" && f.mode != 0 && !of.cluster.HasNamespace(ctx, q.Namespace) {
		return fmt.Errorf("namespace %s does not exist: no switch was changed", q.Namespace)
	}
	switch {
	case f.mode == 0:
		return e.showModes(ctx, of, q)
	case f.dryRun:
		return e.dryRun(ctx, of, q)
	case f.mode == policy.Destroy && q.IsZero() && !f.yes:
		if err := e.confirm(ctx, of, q); err != nil {
			return err
		}
	}
	return e.setMode(ctx, of, q, f)
}

// modeAnswer is the report of one node.
type modeAnswer struct {
	printer.ModeReport
	raw json.RawMessage
}

func readMode(_ fleet.Agent, r io.Reader) (m modeAnswer, err error) {
	rest, err := fleet.ReadObject(r, "", nil)
	if err != nil {
		return m, err
	}
	if m.raw, err = json.Marshal(rest); err == nil {
		err = json.Unmarshal(m.raw, &m.ModeReport)
	}
	return m, err
}

// modeResult is the row of a node.
type modeResult struct {
	Node   string `json:"node"`
	Result string `json:"result"` // what the switch did; "" if none was set
	// Problem is why the node is more conservative than asked, "" if it is not.
	Problem string          `json:"problem,omitempty"`
	Report  json.RawMessage `json:"report,omitempty"` // of halfclose mode

	answer *modeAnswer
}

// The results of a switch.
const (
	resultSet     = "set"
	resultLifted  = "lifted"
	resultCapped  = "capped" // lifted, but something else keeps the node from destroy
	resultUnknown = "UNKNOWN"
	resultFailed  = "NOT SET"
)

func (e *env) showModes(ctx context.Context, of *fleetOf, q api.PodQuery) error {
	answers, err := ask(ctx, e, of, append([]string{"mode", "--output=json"}, podArgs(q)...), readMode)
	if err != nil {
		return err
	}
	var results []modeResult
	for i := range answers {
		if a := &answers[i]; a.Failure == nil {
			results = append(results, modeResult{Node: a.Node, Report: a.Value.raw, answer: &a.Value})
		}
	}
	views := nodesOf[modeAnswer](of, answers, nil)
	if err := e.printModes(results, views); err != nil {
		return err
	}
	return e.finish(of, views)
}

func (e *env) setMode(ctx context.Context, of *fleetOf, q api.PodQuery, f *modeFlags) error {
	command := append([]string{"mode", f.mode.String(), "--output=json", "--who=" + e.who(ctx, of.cluster)}, podArgs(q)...)
	if f.lasts != 0 {
		command = append(command, "--for="+f.lasts.String())
	}
	if f.reason != "" {
		command = append(command, "--reason="+f.reason)
	}
	answers, err := ask(ctx, e, of, command, readMode)
	if err != nil {
		return fmt.Errorf("%w: the switch is set on some nodes: run the command again", err)
	}
	results, retry, capped := []modeResult{}, []string(nil), []string(nil)
	for i := range answers {
		a := &answers[i]
		r := modeResult{Node: a.Node, Result: resultSet, answer: &a.Value}
		if f.mode == policy.Destroy {
			r.Result = resultLifted
		}
		switch {
		case a.Failure != nil:
			r.Result, r.answer = resultFailed, nil
			if a.Failure.Reason == fleet.Timeout || a.Failure.Reason == fleet.BadAnswer {
				r.Result = resultUnknown
			}
			r.Problem = a.Failure.Error()
			retry = append(retry, a.Node)
		case a.Code != 0:
			r.Problem = strings.TrimPrefix(a.Stderr, "halfclose: ")
			if f.mode == policy.Destroy {
				r.Result = resultCapped
				capped = append(capped, a.Node)
			}
		}
		if r.answer != nil {
			r.Report = a.Value.raw
		}
		results = append(results, r)
	}
	views := nodesOf[modeAnswer](of, answers, nil)
	if err := e.printModes(results, views); err != nil {
		return err
	}
	finished := e.finish(of, views)
	again := strings.Join(append([]string{"kubectl halfclose mode", f.mode.String()}, podArgs(q)...), " ")
	switch {
	case len(retry) > 0:
		text := fmt.Sprintf("mode %v did not take effect on %d of %d nodes: retry with %q and the same other flags", f.mode, len(retry), len(answers),
			again+" --node="+strings.Join(retry, ","))
		if len(retry) == len(answers) {
			return errors.New(text)
		}
		return partialError{errors.New(text)}
	case finished != nil:
		return finished
	case len(capped) > 0:
		return fmt.Errorf("the switch is lifted, but %s more conservative: %s", are(len(capped)), strings.Join(capped, ", "))
	}
	return nil
}

func are(nodes int) string { return describe.Plural(nodes, "node is", "nodes are") }

// who returns the name of the user for the switch.
func (e *env) who(ctx context.Context, cluster Cluster) string {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	name, err := cluster.User(ctx)
	if err != nil || name == "" {
		return "kubectl"
	}
	name, _ = safetext.Prefix(name, maxWho-len(" (kubectl)"))
	return name + " (kubectl)"
}

// printModes prints the results of all nodes.
func (e *env) printModes(results []modeResult, views []nodeView) error {
	if e.printer.PrintsObject() {
		return e.printer.PrintObject(struct {
			Results []modeResult `json:"results"`
			Nodes   []nodeView   `json:"nodes"`
		}{results, views})
	}
	sets := len(results) > 0 && results[0].Result != ""
	cols := []term.Column{{Name: "NODE"}, {Name: "MODE", Fold: 2, Lead: ", mode "}, {Name: "SWITCH", Fold: 3, Lead: ", switch "}, {Name: "NOTE", Fold: 4, Lead: ": "}}
	if sets {
		cols = append(cols[:1], append([]term.Column{{Name: "RESULT", Fold: 1, Lead: ", ", Paint: resultPaint}}, cols[1:]...)...)
	}
	t := e.printer.NewTable(cols...)
	for _, r := range results {
		mode, set := "-", "-"
		if m := r.answer; m != nil {
			mode = "no reaper"
			if m.Running && m.ModeView != nil {
				mode = m.Effective.String()
			}
			set = switchesText(&m.ModeReport)
		}
		row := []string{r.Node}
		if sets {
			row = append(row, r.Result)
		}
		t.Row(append(row, mode, set, r.Problem)...)
	}
	return t.Flush()
}

// switchesText describes the switches of a node: its own in words, and how many others it has.
func switchesText(m *printer.ModeReport) string {
	text := "not set"
	switch {
	case m.SwitchProblem != "":
		text = "cannot be read, which counts as observe"
	case m.Switch != nil:
		text = fmt.Sprintf("%v, set by %s", m.Switch.Mode, m.Switch.By())
	}
	const few = 2
	for i, sw := range m.Switches {
		if i == few {
			return text + fmt.Sprintf("; %d more", len(m.Switches)-few)
		}
		text += fmt.Sprintf("; %s: %v, set by %s", sw.ScopeName(), sw.Mode, sw.By())
	}
	return text
}

func resultPaint(text string) term.Style {
	switch text {
	case resultFailed, resultUnknown:
		return term.Bad
	case resultCapped:
		return term.Odd
	}
	return term.Good
}

// scopeOf returns the scope of a switch.
func scopeOf(q api.PodQuery) state.Scope {
	_, name, _ := strings.Cut(q.Pod, "/")
	return state.Scope{Namespace: q.Namespace, Pod: name}
}

// confirm shows what destruction on whole nodes would do, and asks for it.
func (e *env) confirm(ctx context.Context, of *fleetOf, q api.PodQuery) error {
	if !e.terminal(e.in) || !e.terminal(e.err) {
		return cmdline.AsUsage(errors.New("mode destroy allows destruction on whole nodes: without a terminal it needs --yes; --dry-run shows what it would do"))
	}
	result := e.printer
	e.printer.Out, e.printer.Format = e.err, printer.Table // stdout is for the result
	err := e.dryRun(ctx, of, q)
	e.printer = result
	if err != nil {
		if _, ok := errors.AsType[partialError](err); !ok {
			return err
		}
		e.note("%v", err)
	}
	fmt.Fprintf(e.err, "Allow destruction on %s? [y/N] ", describe.Plural(len(of.found.Agents), "node", "nodes"))
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(e.in).ReadString('\n')
		if err != nil {
			text = "" // no consent
		}
		line <- text
	}()
	select {
	case <-ctx.Done():
		return errors.New("interrupted: no switch was changed")
	case text := <-line:
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "y", "yes":
			return nil
		}
		return errors.New("not confirmed: no switch was changed")
	}
}
