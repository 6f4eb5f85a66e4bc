// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func modeCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mode [destroy|observe]",
		Short: "Show or set this node's mode: destroy or observe",
		Long: `Show this node's mode and the settings behind it, or set the node's switch.

"halfclose mode observe" stops all destruction on this node within a second.
Sockets past their grace are then only counted. The switch survives restarts
and reboots, and applies to every reaper on this node, until "halfclose mode
destroy".

The effective mode of a pod is the most conservative of the switch, the
reaper's --mode, the pod's policy, and observe if the kernel cannot destroy
sockets. If the node stays more conservative than the requested mode, the
command prints the reason and exits with 1. Without a running reaper, the
switch applies to the next.`,
		Example: `  halfclose mode              # the mode and the settings behind it
  halfclose mode observe      # stop destroying now
  halfclose mode destroy      # revert "mode observe"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)(cmd, args) != nil {
				return fmt.Errorf("want destroy or observe, not %q", strings.Join(args, " "))
			}
			return nil
		},
		ValidArgs: []string{policy.Destroy.String(), policy.Observe.String()},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := e.switchPath()
			if len(args) == 0 {
				return e.showMode(cmd.Context(), path)
			}
			var m policy.Mode
			if err := m.UnmarshalText([]byte(args[0])); err != nil {
				return usageError{err}
			}
			return e.setMode(cmd.Context(), path, m)
		},
	}
	e.outputFlag(cmd)
	return cmd
}

// modeReport is the output of halfclose mode. Without a reaper it has only the switch, which applies to the next one.
type modeReport struct {
	Running bool `json:"running"` // a reaper is running
	*api.ModeView
	SwitchFile    string        `json:"switchFile"`
	Switch        *state.Switch `json:"switch,omitempty"`
	SwitchProblem string        `json:"switchProblem,omitempty"`
	// Conservative lists the attachments whose policy is more conservative than the node.
	Conservative []conservativeView `json:"moreConservative,omitempty"`
}

// conservativeView is an attachment with a policy that is more conservative than the node.
type conservativeView struct {
	state.Attachment
	Pod  state.Pod   `json:"pod"`
	Mode policy.Mode `json:"mode"`
}

func (e *env) showMode(ctx context.Context, path string) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		return e.printMode(withoutReaper(path))
	}
	if err != nil {
		return err
	}
	return e.printMode(withReaper(s.Mode, s.Attachments))
}

// setMode sets the switch through the reaper. If none is running or it does not answer, it writes the file itself.
func (e *env) setMode(ctx context.Context, path string, m policy.Mode) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	view, err := client.SetMode(ctx, api.ModeRequest{Mode: m, Who: e.who()})
	stuck := errors.Is(err, admin.ErrNoAnswer)
	if stuck || errors.Is(err, admin.ErrNotRunning) {
		if err := state.StoreSwitch(path, state.Switch{Mode: m, Who: e.who(), When: time.Now().UTC().Round(time.Second)}); err != nil {
			return fmt.Errorf("%w (fix %s and set it again)", err, path)
		}
		if stuck {
			return fmt.Errorf("the switch is set to %v for every reaper that reads it, but %w", m, err)
		}
		return e.printMode(withoutReaper(path))
	}
	if err != nil && !errors.Is(err, admin.ErrRefused) {
		return err
	}
	s, statusErr := client.Status(ctx)
	switch {
	case err != nil && m != policy.Destroy && (statusErr != nil || s.Mode.Effective < m):
		return fmt.Errorf("%w (to stop destroying now, stop the reaper or start it with --mode %v)", err, m)
	case err != nil:
		return fmt.Errorf("%w (fix %s and set it again)", err, path)
	}
	var attachments []api.AttachmentView
	if statusErr == nil {
		view, attachments = s.Mode, s.Attachments
	}
	if err := e.printMode(withReaper(view, attachments)); err != nil {
		return err
	}
	if view.Effective > m {
		return fmt.Errorf("the switch is set to %v, but the mode is %v because of %s", m, view.Effective, strings.Join(capReasons(view, m), "; "))
	}
	return statusErr
}

// withoutReaper returns a report of the switch alone.
func withoutReaper(path string) modeReport {
	r := modeReport{SwitchFile: path}
	sw, ok, err := state.LoadSwitch(path)
	switch {
	case err != nil:
		r.SwitchProblem = err.Error()
	case ok:
		r.Switch = &sw
	}
	return r
}

// withReaper returns a report of a running reaper.
func withReaper(view api.ModeView, attachments []api.AttachmentView) modeReport {
	r := modeReport{
		Running: true, ModeView: &view, SwitchFile: view.SwitchFile, Switch: view.Switch, SwitchProblem: view.SwitchProblem,
	}
	for _, a := range attachments {
		if a.Inert == "" && a.Policy.Mode > view.Effective {
			r.Conservative = append(r.Conservative, conservativeView{a.Attachment, a.Pod, a.Policy.Mode})
		}
	}
	return r
}
