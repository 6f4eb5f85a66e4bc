// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"

	"github.com/halfclose/halfclose/pkg/state"
)

// Mode returns what may be done on this node, and what says so.
func (r *Reaper) Mode(ctx context.Context) (ModeView, error) {
	var view ModeView
	err := r.read(ctx, func(l *loop) { view = l.caps.view })
	return view, err
}

// SetMode sets the switch of this node, for this reaper and any later one. When it returns, nothing is
// destroyed any more that the switch forbids, but for the job that may be under way.
func (r *Reaper) SetMode(ctx context.Context, sw state.Switch) (ModeView, error) {
	if err := state.StoreSwitch(r.cfg.SwitchPath, sw); err != nil {
		return ModeView{}, err
	}
	var view ModeView
	err := r.read(ctx, func(l *loop) {
		if l.caps.reload() {
			l.remode(now())
		}
		view = l.caps.view
	})
	return view, err
}

// noticeSwitch warns once of a switch that cannot be read.
func (l *loop) noticeSwitch() {
	problem := l.caps.view.SwitchProblem
	if problem != "" && problem != l.switchProblem {
		l.warnings.warn(WarnSwitch, "the mode switch cannot be read: observing only", "error", problem)
	}
	l.switchProblem = problem
}
