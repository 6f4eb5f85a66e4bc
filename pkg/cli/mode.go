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
		Short: "Show or set what may be done on this node: destroy or only observe",
		Long: `Show what may be done on this node and what says so, or set this node's switch.

"halfclose mode observe" stops all destruction on this node within a second:
sockets past their grace are only accounted for. The switch holds for every
reaper on this node, through restarts and reboots, until "halfclose mode destroy".

The most conservative of the switch, the reaper's --mode, what the kernel allows
and a pod's own policy is what happens. The exit code is 1, with the reason, if the
node is more conservative than what was asked for. Where no reaper runs the switch
is written for the next.`,
		Example: `  halfclose mode              # what may be done, and what says so
  halfclose mode observe      # stop destroying now, and until further notice
  halfclose mode destroy`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)(cmd, args) != nil {
				return fmt.Errorf("the mode is set to destroy or to observe, not to %q", strings.Join(args, " "))
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

// modeReport is what halfclose mode prints. Without a reaper nothing is done, and there is no more than the
// switch that the next one will find.
type modeReport struct {
	Running bool `json:"running"` // whether a reaper runs
	*api.ModeView
	SwitchFile    string        `json:"switchFile"`
	Switch        *state.Switch `json:"switch,omitempty"`
	SwitchProblem string        `json:"switchProblem,omitempty"`
	// Conservative are the attachments whose own policy is more conservative than the node.
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

// setMode sets the switch by way of the reaper, or for the next one if none runs.
func (e *env) setMode(ctx context.Context, path string, m policy.Mode) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	view, err := client.SetMode(ctx, api.ModeRequest{Mode: m, Who: e.who()})
	stuck := errors.Is(err, admin.ErrNoAnswer)
	if stuck || errors.Is(err, admin.ErrNotRunning) {
		if err := state.StoreSwitch(path, state.Switch{Mode: m, Who: e.who(), When: time.Now().UTC().Round(time.Second)}); err != nil {
			return fmt.Errorf("%w (see to %s, and set it again)", err, path)
		}
		if stuck {
			return fmt.Errorf("the switch is set to %v, and holds for every reaper that looks at it, but %w", m, err)
		}
		return e.printMode(withoutReaper(path))
	}
	if err != nil && !errors.Is(err, admin.ErrRefused) {
		return err
	}
	s, statusErr := client.Status(ctx)
	switch {
	case err != nil && m != policy.Destroy && (statusErr != nil || s.Mode.Effective < m):
		return fmt.Errorf("%w (to stop the destruction all the same, end the reaper or start it with --mode %v)", err, m)
	case err != nil:
		return fmt.Errorf("%w (see to %s, and set it again)", err, path)
	}
	var attachments []api.AttachmentView
	if statusErr == nil {
		view, attachments = s.Mode, s.Attachments
	}
	if err := e.printMode(withReaper(view, attachments)); err != nil {
		return err
	}
	if view.Effective > m {
		return fmt.Errorf("the switch is set to %v, but the mode is %v: %s", m, view.Effective, strings.Join(caps(view, m), "; "))
	}
	return statusErr
}

// withoutReaper reports on the switch alone.
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

// withReaper reports on what a reaper says.
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
