// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/term"
)

func doctorCommand(e *env) *cobra.Command {
	cfg := doctor.Config{Limit: doctor.DefaultLimit}
	strict := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this node allows, what is wrong with it and what to do",
		Long: `Look at what this kernel, these privileges and this node's configuration allow, and
say of everything that is not as it should be what to do about it.

It changes nothing: what has to be tried (destroying a socket, loading a BPF
program) is tried on things of its own, in a network namespace of its own where it
may make one. The plugin's binary is run to ask for its version. What it may not
look at it says, with what that would take.

  ok    as it should be
  info  worth knowing; nothing need be done
  warn  works, but not as it should; or could not be looked at
  fail  keeps sockets from being destroyed, or containers from being registered
        or started

It exits with 0 when nothing fails, and with 1 when something does: as an init
container before the reaper it keeps a pod from starting on a node where the reaper
could not work. Run it with what the reaper has: the same privileges, mounts and
environment. With --strict a warning counts too. That is not for an init container:
one pod's mistaken annotation is a warning, and so is that no reaper runs yet.`,
		Example: `  halfclose doctor
  halfclose doctor --strict            # in a script: a warning counts too
  halfclose doctor --host-root /host   # in a container that has it there
  halfclose doctor -o json | jq -r '.findings[] | select(.level == "fail").do'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.StateDir, cfg.SwitchPath = e.stateDir, e.switchPath()
			cfg.Slow = func(what string) { e.note("still looking at %s", what) }
			report := doctor.Run(cmd.Context(), cfg)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := e.printReport(report); err != nil {
				return err
			}
			return verdictOf(report, strict)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.HostRoot, "host-root", e.getenv("HALFCLOSE_HOST_ROOT"), "the `dir` where the host's file system is mounted, when run in a container (HALFCLOSE_HOST_ROOT)")
	flags.StringVar(&cfg.ConfDir, "cni-conf-dir", doctor.DefaultConfDir, "the `dir` where the runtime finds its network configurations, on the host")
	flags.StringVar(&cfg.BinDir, "cni-bin-dir", doctor.DefaultBinDir, "the `dir` where the runtime finds CNI plugins, on the host")
	flags.BoolVar(&strict, "strict", false, "exit with 1 for a warning too")
	e.outputFlag(cmd)
	return cmd
}

// verdictOf is the error that the command ends with, nil if nothing is bad enough.
func verdictOf(r doctor.Report, strict bool) error {
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
	return fmt.Errorf("not in order: %s (what to do stands below each)", strings.Join(checks, ", "))
}

// printReport prints the findings: the level and the check in columns, what to do below.
func (e *env) printReport(r doctor.Report) error {
	if e.output == outputJSON {
		return printJSON(e.out, r)
	}
	s := e.screen()
	widest := 0
	for _, f := range r.Findings {
		widest = max(widest, len(f.Check))
	}
	counts := make(map[doctor.Level]int)
	var b strings.Builder
	for _, f := range r.Findings {
		counts[f.Level]++
		first := fmt.Sprintf("%-4s  %-*s  ", f.Level, widest, f.Check)
		rest := strings.Repeat(" ", len(first))
		text := term.Fill(s.Width, first, rest, term.Clean(f.What))
		level := f.Level.String()
		b.WriteString(s.Paint(levelPaint(f.Level), level) + text[len(level):] + "\n")
		if f.Do != "" {
			b.WriteString(term.Fill(s.Width, rest+"do: ", rest+"    ", term.Clean(f.Do)) + "\n")
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d info, %d warn, %d fail\n", counts[doctor.OK], counts[doctor.Info], counts[doctor.Warn], counts[doctor.Fail])
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

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
