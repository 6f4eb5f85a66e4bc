// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"fmt"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Mode returns what may be done on this node, and what says so.
func (r *Reaper) Mode(ctx context.Context) (api.ModeView, error) {
	var view api.ModeView
	err := r.read(ctx, func(l *loop) { view = l.caps.view })
	return view, err
}

// SetMode sets the switch of this node, for this reaper and any later one. When it returns, nothing is
// destroyed any more that the switch forbids, but for the job that may be under way. That holds where the
// switch cannot be written too: then the error says so, and that it is for this reaper alone. What the switch
// forbids ends before it is written, which takes as long as the disk does.
func (r *Reaper) SetMode(ctx context.Context, sw state.Switch) (view api.ModeView, err error) {
	take := func(ctx context.Context, written bool) error {
		return r.read(ctx, func(l *loop) {
			if l.caps.set(sw, written) {
				l.remode(l.clock.Now())
			}
			view = l.caps.view
		})
	}
	if sw.Mode != policy.Destroy {
		_ = take(ctx, false) // a reaper that ends now says so below; the switch is for the next one too
	}
	unwritten := state.StoreSwitch(r.cfg.SwitchPath, sw)
	if unwritten != nil && sw.Mode == policy.Destroy {
		return api.ModeView{}, unwritten // it lifts a bound, for which there is time
	}
	err = take(context.WithoutCancel(ctx), unwritten == nil) // it is done, whether who asked waits or not
	if err == nil && unwritten != nil {
		err = fmt.Errorf("the mode is %v for as long as this reaper runs, but for no later one: %w", view.Effective, unwritten)
	}
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
