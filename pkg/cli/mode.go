// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

func modeCommand(e *env) *cobra.Command {
	var f modeFlags
	cmd := &cobra.Command{
		Use:   "mode [destroy|observe]",
		Short: "Show or set the mode of this node or of a pod",
		Long: `Show this node's mode and the settings behind it, or set a switch: the node's,
or with --pod or --namespace that of a part of it.

"halfclose mode observe" stops all destruction within a second. Sockets past
their grace are then only counted. A switch survives restarts and reboots, and
applies to every reaper on this node, until "halfclose mode destroy" with the
same --pod or --namespace lifts it, or --for has passed by the wall clock.

"halfclose mode destroy --dry-run" changes nothing. It prints for each pod how
many sockets would be destroyed at once, how many peers would be asked at once,
and what would still cap the mode.

The effective mode of a pod is the most conservative of all switches, the
reaper's --mode, the pod's policy, and observe if the kernel cannot destroy
sockets. If it stays more conservative than the requested mode, the command
prints the reason and exits with 1. Without a running reaper, the switch applies
to the next. A pod that is not registered yet can have a switch.`,
		Example: `  halfclose mode                         # the mode and its settings
  halfclose mode observe                 # stop destroying now
  halfclose mode observe --pod shop/web --for 2h --reason INC-7
  halfclose mode destroy --dry-run       # what would go at once
  halfclose mode destroy                 # revert "mode observe"
  halfclose mode destroy --pod shop/web  # revert it for the pod`,
		Args:      func(_ *cobra.Command, args []string) error { return flagvalue.CheckSwitchMode(args) },
		ValidArgs: flagvalue.SwitchModes(),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, path := cmd.Context(), e.switchPath()
			scope, known, err := e.scope(ctx, f.pods)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if f.dryRun || f.lasts != 0 || f.reason != "" || f.who != "" {
					return cmdline.AsUsage(errors.New("--dry-run needs destroy, --for and --reason need observe, and --who either"))
				}
				return e.showMode(ctx, path, scope)
			}
			sw := state.Switch{Scope: scope, Who: e.who(), When: time.Now().UTC().Truncate(time.Second), Reason: f.reason}
			if err := sw.Mode.UnmarshalText([]byte(args[0])); err != nil {
				return cmdline.AsUsage(err)
			}
			if err := f.check(&sw); err != nil {
				return err
			}
			if f.dryRun {
				return e.dryRun(ctx, scope)
			}
			return e.setMode(ctx, path, sw, known)
		},
	}
	f.add(e, cmd)
	e.tableFlags(cmd)
	return cmd
}

func (e *env) showMode(ctx context.Context, path string, scope state.Scope) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		r := within(withoutReaper(path), scope)
		return e.PrintMode(&r)
	}
	if err != nil {
		return err
	}
	r := within(printer.NewModeReport(s.Mode, s.Attachments), scope)
	return e.PrintMode(&r)
}

// setMode sets the switch through the reaper. If none is running or it does not answer, it writes the file itself. known
// reports whether the scope has an attachment.
func (e *env) setMode(ctx context.Context, path string, sw state.Switch, known bool) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	m, unregistered := sw.Mode, ""
	if !known && m != policy.Destroy {
		unregistered = sw.ScopeName()
	}
	due, err := e.due(ctx, client, sw)
	var view api.ModeView
	if err == nil {
		view, err = client.SetMode(ctx, api.ModeRequest{Scope: sw.Scope, Mode: m, Who: sw.Who, Until: sw.Until, Reason: sw.Reason})
	}
	stuck := errors.Is(err, admin.ErrNoAnswer)
	if stuck || errors.Is(err, admin.ErrNotRunning) {
		if err := state.StoreSwitch(path, sw); err != nil {
			return fmt.Errorf("%w (fix %s and set it again)", err, path)
		}
		if stuck {
			return fmt.Errorf("the switch%s is set to %v for every reaper that reads it, but %w", ofScope(sw.Scope), m, err)
		}
		r := withoutReaper(path)
		r.Unregistered = unregistered
		return e.PrintMode(&r)
	}
	if err != nil && !errors.Is(err, admin.ErrRefused) {
		return err
	}
	s, statusErr := client.Status(ctx)
	switch {
	case err != nil && m != policy.Destroy && (statusErr != nil || !obeys(s.Mode, sw)):
		return fmt.Errorf("%w (to stop destroying now, stop the reaper or start it with --mode %v)", err, m)
	case err != nil:
		return fmt.Errorf("%w (fix %s and set it again)", err, path)
	}
	var attachments []api.AttachmentView
	if statusErr == nil {
		view, attachments = s.Mode, s.Attachments
	}
	r := printer.NewModeReport(view, attachments)
	r.Due, r.Unregistered = due, unregistered
	if err := e.PrintMode(&r); err != nil {
		return err
	}
	return errors.Join(stillCapped(view, sw), statusErr)
}

// obeys reports whether a reaper is as conservative as a switch that it could not write.
func obeys(view api.ModeView, sw state.Switch) bool {
	if view.Effective >= sw.Mode {
		return true
	}
	set, ok := state.Switches{Node: view.Switch, Scoped: view.Switches}.Of(sw.Scope)
	return ok && set.Mode >= sw.Mode
}

// stillCapped returns an error if the scope of a switch stays more conservative than its mode. Narrower switches do not
// count.
func stillCapped(view api.ModeView, sw state.Switch) error {
	mode, reasons := view.Effective, []string(nil)
	if view.Effective > sw.Mode {
		reasons = capReasons(view, sw.Mode)
	}
	if !sw.IsNode() {
		pod := state.Pod{Namespace: sw.Namespace, Name: sw.Pod}
		for _, other := range (state.Switches{Scoped: view.Switches}).For(pod, sw.ID) {
			if other.Mode > sw.Mode && other.Scope != sw.Scope {
				mode = policy.MostConservative(mode, other.Mode)
				reasons = append(reasons, api.SwitchReasons([]state.Switch{other}, sw.Mode)...)
			}
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("the switch%s is set to %v, but the mode is %v because of %s", ofScope(sw.Scope), sw.Mode, mode, strings.Join(reasons, "; "))
}

// ofScope returns " of SCOPE", or "" for the node.
func ofScope(s state.Scope) string {
	if s.IsNode() {
		return ""
	}
	return " of " + s.ScopeName()
}

// withoutReaper returns a report of the switches alone.
func withoutReaper(path string) printer.ModeReport {
	r := printer.ModeReport{SwitchFile: path}
	switches, err := state.LoadSwitches(path)
	if err != nil {
		r.SwitchProblem = err.Error()
		return r
	}
	switches = switches.At(time.Now())
	r.Switch, r.Switches = switches.Node, switches.Scoped
	return r
}

// within returns a report with only the switches that a scope is in, or that are in it.
func within(r printer.ModeReport, scope state.Scope) printer.ModeReport {
	pod := state.Pod{Namespace: scope.Namespace, Name: scope.Pod}
	r.Switches = slices.DeleteFunc(slices.Clone(r.Switches), func(sw state.Switch) bool {
		return !sw.Covers(pod, scope.ID) && !scope.Covers(state.Pod{Namespace: sw.Namespace, Name: sw.Pod}, sw.ID)
	})
	return r
}

// capReasons lists the caps that keep a node below m, with advice for the reaper's --mode.
func capReasons(v api.ModeView, m policy.Mode) []string {
	reasons := v.CapReasons(m)
	for i, limit := range v.Caps(m) {
		if limit == api.CapReaper {
			reasons[i] += fmt.Sprintf(" (start it with --mode %v)", m)
		}
	}
	return reasons
}

// maxWhoBytes bounds the name of an operator, so that no name makes the switch invalid.
const maxWhoBytes = 100

// who returns the name of the user for the switch file.
func (e *env) who() string {
	name := e.Getenv("SUDO_USER")
	if name != "" {
		name += " (sudo)"
	} else if u, err := user.Current(); err == nil && u.Username != "" && u.Username != u.Uid { // in a container the user may have no name
		name = u.Username
	} else {
		name = "uid " + strconv.Itoa(os.Getuid())
	}
	return strings.ToValidUTF8(name[:min(len(name), maxWhoBytes)], "")
}
