// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// caps has the node-wide caps on the mode. It reads the switch again when its file changes.
type caps struct {
	view      api.ModeView
	path      string
	info      os.FileInfo // of the switch file when it was read; nil if it did not exist
	checkedAt time.Time
	readAt    time.Time
	unwritten *state.Switch // a switch that applies although its file could not be written
}

func newCaps(reaper policy.Mode, switchPath, kernelProblem string) *caps {
	c := &caps{path: switchPath, view: api.ModeView{Reaper: reaper, SwitchFile: switchPath, KernelProblem: kernelProblem}}
	c.load()
	return c
}

const switchCheckInterval = 100 * time.Millisecond

// refresh reads the switch if its file may have changed, and reports whether the effective mode has changed.
func (c *caps) refresh(now time.Time) bool {
	if now.Sub(c.checkedAt) < switchCheckInterval {
		return false
	}
	c.checkedAt = now
	info, err := os.Stat(c.path)
	if err != nil {
		info = nil
	}
	isAbsent := info == nil && c.info == nil && c.view.SwitchProblem == ""
	if isAbsent || info != nil && c.info != nil && isSameFile(info, c.info) && c.isReadAfterChange() {
		return false
	}
	c.readAt = now
	return c.reload()
}

// ctimeGranularity is longer than the granularity of a file's change time: two changes within a tick of the kernel's
// clock, at most 10 ms, can have the same one.
const ctimeGranularity = 100 * time.Millisecond

// isReadAfterChange reports whether the file was read long enough after its last change for any later change to have another
// change time.
func (c *caps) isReadAfterChange() bool {
	changed, ok := changeTime(c.info)
	return ok && c.readAt.Sub(changed) >= ctimeGranularity
}

// set applies a switch, which was written to its file or could not be, and reports whether the effective mode has
// changed.
func (c *caps) set(sw state.Switch, written bool) bool {
	c.unwritten = nil
	if !written {
		sw.Who += " (until this reaper exits)"
		c.unwritten = &sw
	}
	return c.reload()
}

// setNetnsProblem sets why no network namespace can be entered, "" if one can, and reports whether the effective mode
// has changed.
func (c *caps) setNetnsProblem(problem string) bool {
	if problem == c.view.NetnsProblem {
		return false
	}
	c.view.NetnsProblem = problem
	return c.reload()
}

// reload reads the switch, and reports whether the effective mode has changed.
func (c *caps) reload() bool {
	was := c.view.Effective
	c.load()
	return c.view.Effective != was
}

// isSameFile reports whether a file is unchanged. A program can set the modification time, but not the change time.
func isSameFile(a, b os.FileInfo) bool {
	changedA, okA := changeTime(a)
	changedB, okB := changeTime(b)
	return okA && okB && changedA.Equal(changedB) && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// changeTime returns when a file's content or its inode last changed.
func changeTime(info os.FileInfo) (time.Time, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(st.Ctim.Unix()), true
}

// load reads the switch. An unreadable switch counts as observe: that may be its value.
func (c *caps) load() {
	c.info = nil
	if info, err := os.Stat(c.path); err == nil {
		c.info = info
	}
	c.view.Switch, c.view.SwitchProblem = nil, ""
	modes := []policy.Mode{c.view.Reaper}
	sw, ok, err := state.LoadSwitch(c.path)
	switch {
	case err != nil:
		c.view.SwitchProblem = err.Error()
		modes = append(modes, policy.Observe)
	case ok:
		c.view.Switch = &sw
		modes = append(modes, sw.Mode)
	}
	if c.unwritten != nil {
		c.view.Switch = c.unwritten
		modes = append(modes, c.unwritten.Mode)
	}
	if c.view.KernelProblem != "" || c.view.NetnsProblem != "" {
		modes = append(modes, policy.Observe)
	}
	c.view.Effective = policy.MostConservative(modes...)
}

// limit returns the cap on the mode of a network namespace.
func (c *caps) limit(ns *registered) policy.Mode {
	if len(ns.blockers) > 0 {
		return policy.MostConservative(c.view.Effective, policy.Observe)
	}
	return c.view.Effective
}

// cappedBy lists what keeps the mode of a network namespace below that of a policy, in words.
func (c *caps) cappedBy(ns *registered, m policy.Mode) []string {
	by := c.view.CapReasons(m)
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

// SetMode sets the node's switch, for this reaper and later ones. When it returns, no socket is destroyed that the switch
// forbids, except by a job that is under way. A more conservative mode applies before its file is written, since a disk may
// be slow, and also if it cannot be written: then SetMode returns an error, and the mode is for this reaper alone.
func (r *Reaper) SetMode(ctx context.Context, sw state.Switch) (view api.ModeView, err error) {
	apply := func(ctx context.Context, written bool) error {
		return r.read(ctx, func(l *loop) {
			if l.caps.set(sw, written) {
				l.applyMode(l.clock.Now())
			}
			view = l.caps.view
		})
	}
	if sw.Mode != policy.Destroy {
		_ = apply(ctx, false) // if this reaper exits now, the second call returns the error
	}
	unwritten := state.StoreSwitch(r.cfg.SwitchPath, sw)
	if unwritten != nil && sw.Mode == policy.Destroy {
		return api.ModeView{}, unwritten // lifting a cap is not urgent
	}
	err = apply(context.WithoutCancel(ctx), unwritten == nil) // the file is written: apply it even if the client has gone
	if err == nil && unwritten != nil {
		err = fmt.Errorf("the mode is %v until this reaper exits, but not for later reapers: %w", view.Effective, unwritten)
	}
	return view, err
}

// noticeSwitch logs an unreadable switch once.
func (l *loop) noticeSwitch() {
	problem := l.caps.view.SwitchProblem
	if problem != "" && problem != l.switchProblem {
		l.warnings.warn(WarnSwitch, "cannot read the mode switch: observing only", "error", problem)
	}
	l.switchProblem = problem
}
