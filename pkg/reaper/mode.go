// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// caps has the node-wide caps on the mode. It reads the switch again when its file changes.
type caps struct {
	view      api.ModeView
	path      string
	stamp     hostfs.Stamp // of the switch file when it was read; zero if it did not exist
	checkedAt time.Time
	readAt    time.Time
	wall      func() time.Time              // the wall clock
	switches  state.Switches                // of the file, and unwritten ones; includes ended switches
	inForce   state.Switches                // the switches that cap a mode now
	unwritten map[state.Scope]*state.Switch // that apply although their file could not be written
}

func newCaps(reaper policy.Mode, switchPath, kernelProblem string, wall func() time.Time) *caps {
	c := &caps{path: switchPath, wall: wall, view: api.ModeView{Reaper: reaper, SwitchFile: switchPath, KernelProblem: kernelProblem}}
	c.load()
	return c
}

const switchCheckInterval = 100 * time.Millisecond

// refresh reads the switches if their file may have changed or one of them has ended, and reports whether any mode has
// changed.
func (c *caps) refresh(now time.Time) bool {
	if now.Sub(c.checkedAt) < switchCheckInterval {
		return false
	}
	c.checkedAt = now
	stamp := stampOf(c.path)
	isAbsent := stamp == hostfs.Stamp{} && c.view.SwitchProblem == ""
	if stamp == c.stamp && (isAbsent || stamp.ShowsChangesAfter(c.readAt)) {
		return c.expire(now)
	}
	c.readAt = now
	return c.reload()
}

// set applies a switch, which was written to its file or could not be, and reports whether any mode has changed.
func (c *caps) set(sw state.Switch, written bool) bool {
	delete(c.unwritten, sw.Scope)
	if !written {
		sw.Who += " (until this reaper exits)"
		if c.unwritten == nil {
			c.unwritten = make(map[state.Scope]*state.Switch)
		}
		c.unwritten[sw.Scope] = &sw
	}
	return c.reload()
}

// setNetnsProblem sets why no network namespace can be entered, "" if one can, and reports whether any mode has changed.
func (c *caps) setNetnsProblem(problem string) bool {
	if problem == c.view.NetnsProblem {
		return false
	}
	c.view.NetnsProblem = problem
	return c.reload()
}

// reload reads the switches, and reports whether any mode has changed.
func (c *caps) reload() bool {
	was, scoped := c.view.Effective, c.inForce.Scoped
	c.load()
	return c.view.Effective != was || !slices.EqualFunc(scoped, c.inForce.Scoped, isSameSwitch)
}

// stampOf returns the stamp of the file that a path leads to, zero without one.
func stampOf(path string) hostfs.Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return hostfs.Stamp{}
	}
	return hostfs.StampOf(info)
}

// load reads the switches. Unreadable switches count as observe: that may be their value.
func (c *caps) load() {
	c.stamp = stampOf(c.path)
	c.view.SwitchProblem = ""
	var err error
	if c.switches, err = state.LoadSwitches(c.path); err != nil {
		c.view.SwitchProblem = err.Error()
	}
	for _, sw := range c.unwritten {
		if was, ok := c.switches.Of(sw.Scope); !ok || sw.Mode >= was.Mode || !was.InForce(c.wall()) {
			c.switches = c.switches.With(*sw)
		}
	}
	c.apply(c.wall())
}

// apply derives the effective mode from the switches that are in force.
func (c *caps) apply(now time.Time) {
	c.inForce = c.switches.At(now)
	c.view.Switch, c.view.Switches = c.inForce.Node, c.inForce.Scoped
	c.view.Effective = nodeMode(&c.view)
}

// nodeMode returns the most conservative mode of a node's caps.
func nodeMode(v *api.ModeView) policy.Mode {
	modes := []policy.Mode{v.Reaper}
	if v.Switch != nil {
		modes = append(modes, v.Switch.Mode)
	}
	if v.SwitchProblem != "" || v.KernelProblem != "" || v.NetnsProblem != "" {
		modes = append(modes, policy.Observe)
	}
	return policy.MostConservative(modes...)
}

// limit returns the cap on the mode of a network namespace: the most conservative of the node's and of the switches of all
// pods that it belongs to.
func (c *caps) limit(ns *registered) policy.Mode {
	m := c.view.Effective
	if len(ns.blockers) > 0 {
		m = policy.MostConservative(m, policy.Observe)
	}
	for _, sw := range c.scopedOf(ns) {
		m = policy.MostConservative(m, sw.Mode)
	}
	return m
}

// cappedBy lists the causes that keep the mode of a network namespace below that of a policy, in words. The files that block it are
// last.
func (c *caps) cappedBy(ns *registered, m policy.Mode) []string {
	by := append(c.view.CapReasons(m), api.SwitchReasons(c.scopedOf(ns), m)...)
	if m < policy.Observe {
		for _, h := range ns.blockers {
			by = append(by, fmt.Sprintf("the file %q: %s", h.File, h.Reason))
		}
	}
	return by
}

// Mode returns the node's effective mode and its caps.
func (r *Reaper) Mode(ctx context.Context) (api.ModeView, error) {
	var view api.ModeView
	err := r.read(ctx, func(l *loop) { view = l.caps.view })
	return view, err
}

// SetMode sets the switch of the node, or of a part of it, for this reaper and later ones. When it returns, no socket is destroyed that the switch
// forbids, except by a job that is under way. A more conservative mode applies before its file is written, since a disk may
// be slow, and also if it cannot be written: then SetMode returns an error, and the mode is for this reaper alone.
func (r *Reaper) SetMode(ctx context.Context, sw state.Switch) (view api.ModeView, err error) {
	apply := func(ctx context.Context, written bool) error {
		return r.read(ctx, func(l *loop) {
			if l.caps.set(sw, written) {
				l.applyMode(l.clock.Now())
			}
			l.noticeSwitch()
			view = l.caps.view
		})
	}
	if sw.Mode != policy.Destroy {
		_ = apply(ctx, false) // if this reaper exits now, the second call returns the error
	}
	unwritten := state.StoreSwitch(r.cfg.SwitchPath, sw)
	r.cfg.Writes.Report(api.UnwritableSwitch, r.cfg.SwitchPath, unwritten, r.cfg.Clock.Wall())
	if unwritten != nil && sw.Mode == policy.Destroy {
		return api.ModeView{}, unwritten // lifting a cap is not urgent
	}
	err = apply(context.WithoutCancel(ctx), unwritten == nil) // the file is written: apply it even if the client has gone
	if err == nil && unwritten != nil {
		err = fmt.Errorf("the mode%s is %v until this reaper exits, but not for later reapers: %w", ofScope(sw.Scope), policy.MostConservative(view.Effective, sw.Mode), unwritten)
	}
	return view, err
}
