// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/term"
)

func doctorCommand(e *env) *cobra.Command {
	cfg := doctor.Config{Limit: doctor.DefaultLimit}
	strict, all := false, false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this node, and report problems with their fixes",
		Long: `Check what this kernel, these privileges and this node's configuration allow,
and report each problem with its fix.

The doctor changes nothing. It tries destroying a socket and loading a BPF
program on objects of its own, in a network namespace of its own if it may
create one. It runs the plugin's binary to read its version. It reports each
check that it lacks a privilege for, and names the privilege.

It prints the number of findings of each level, and then the findings that are
not ok; with --all it prints all. Each has an id that does not change between
runs and releases. JSON and YAML have all findings.

  ok    correct; listed with --all
  info  worth knowing; no action needed
  warn  works with limits, or could not be checked
  fail  prevents destroying sockets, or registering or starting containers

The exit code is 1 if a check fails. As an init container before the reaper,
the doctor keeps a pod from starting on a node where the reaper could not work.
Run it with the reaper's privileges, mounts and environment. With --strict the
exit code is 1 for a warning too. Do not use --strict in an init container: a
mistake in one pod's annotation is a warning, and so is a reaper that is not
running yet.`,
		Example: `  halfclose doctor
  halfclose doctor --all               # what is ok too
  halfclose doctor --strict            # in a script: fail on warnings too
  halfclose doctor --host-root /host   # in a container
  halfclose doctor -o json | jq -r '.findings[] | select(.level == "fail").do'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.StateDir, cfg.SwitchPath = e.stateDir, e.switchPath()
			cfg.Slow = func(what string) { e.note("still checking %s", what) }
			report := doctor.Run(cmd.Context(), cfg)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := e.printReport(report, all); err != nil {
				return err
			}
			return reportError(report, strict)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.HostRoot, "host-root", e.Getenv("HALFCLOSE_HOST_ROOT"), "`dir` where the host's root is mounted in this container (HALFCLOSE_HOST_ROOT)")
	flags.StringVar(&cfg.ConfDir, "cni-conf-dir", spec.DefaultConfDir, "`dir` of the runtime's network configurations, on the host")
	flags.StringVar(&cfg.BinDir, "cni-bin-dir", spec.DefaultBinDir, "`dir` of the runtime's CNI plugins, on the host")
	flags.BoolVar(&all, "all", false, "list the findings that are ok too")
	flags.BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	e.outputFlag(cmd)
	return cmd
}

// reportError returns the error of the command: the failed checks, nil if there are none.
func reportError(r doctor.Report, strict bool) error {
	limit := doctor.Fail
	if strict {
		limit = doctor.Warn
	}
	var checks []string
	for _, f := range r.Findings {
		if f.Level >= limit && !slices.Contains(checks, f.Check) {
			checks = append(checks, f.Check)
		}
	}
	if len(checks) == 0 {
		return nil
	}
	return fmt.Errorf("not in order: %s (the fix is below each)", strings.Join(checks, ", "))
}

// printReport prints the number of findings of each level, and below it the findings that are not ok, or all of them: each
// with its level and id, and its fix below.
func (e *env) printReport(r doctor.Report, all bool) error {
	if e.PrintsObject() {
		return e.PrintObject(r)
	}
	s := e.Screen()
	counts, widest := make(map[doctor.Level]int), 0
	var shown []doctor.Finding
	for _, f := range r.Findings {
		counts[f.Level]++
		if all || f.Level != doctor.OK {
			shown = append(shown, f)
			widest = max(widest, len(f.ID))
		}
	}
	widest = min(widest, maxIDColumn)
	hidden := ""
	if len(shown) < len(r.Findings) {
		hidden = " (listed with --all)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d ok%s, %d info, %d warn, %d fail\n", counts[doctor.OK], hidden, counts[doctor.Info], counts[doctor.Warn], counts[doctor.Fail])
	if len(shown) > 0 {
		b.WriteString("\n")
	}
	for _, f := range shown {
		first := fmt.Sprintf("%-4s  %-*s  ", f.Level, widest, safetext.Escape(f.ID))
		rest := strings.Repeat(" ", len("info  ")+widest+len("  "))
		text := term.Fill(s.Width, first, rest, safetext.Escape(f.What))
		level := f.Level.String()
		b.WriteString(s.Paint(levelPaint(f.Level), level) + text[len(level):] + "\n")
		if f.Do != "" {
			b.WriteString(term.Fill(s.Width, rest+"do: ", rest+"    ", safetext.Escape(f.Do)) + "\n")
		}
	}
	_, err := fmt.Fprint(e.Out, b.String())
	return err
}

// maxIDColumn is the width of the column of ids: a longer id, with the name of a file, moves only the line's text.
const maxIDColumn = 16

func levelPaint(l doctor.Level) term.Style {
	switch l {
	case doctor.OK:
		return term.Good
	case doctor.Warn:
		return term.Odd
	case doctor.Fail:
		return term.Bad
	}
	return term.Plain
}
