// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// caps keeps the node-wide bounds on the mode. The switch is read from its file, and read again when the
// file changes.
type caps struct {
	view api.ModeView
	path string
	seen os.FileInfo
	at   time.Time
	read time.Time // when refresh last read it, whatever it held
	// unwritten is a switch that holds although it could not be written to its file.
	unwritten *state.Switch
}

func newCaps(reaper policy.Mode, switchPath, kernelProblem string) *caps {
	c := &caps{path: switchPath, view: api.ModeView{Reaper: reaper, SwitchFile: switchPath, KernelProblem: kernelProblem}}
	c.load()
	return c
}

// switchAge is how old what is known of the switch may be.
const switchAge = 100 * time.Millisecond

// refresh reads the switch if it may have changed, and reports whether what may be done has.
func (c *caps) refresh(now time.Time) bool {
	if now.Sub(c.at) < switchAge {
		return false
	}
	c.at = now
	info, err := os.Stat(c.path)
	if err != nil {
		info = nil
	}
	if (info == nil && c.seen == nil && c.view.SwitchProblem == "") || (info != nil && c.seen != nil && sameFile(info, c.seen) && c.isReadLater()) {
		return false
	}
	c.read = now
	return c.reload()
}

// switchTick is longer than the time for which a file that changes twice may keep one time of change: a tick of the
// kernel's clock, at most 10 ms.
const switchTick = 100 * time.Millisecond

// isReadLater reports whether the file was read so long after its last change that any later one has another time.
func (c *caps) isReadLater() bool {
	changed, ok := changeTime(c.seen)
	return ok && c.read.Sub(changed) >= switchTick
}

// set takes over a switch that was written to its file, or could not be, and reports whether what may be done
// has changed.
func (c *caps) set(sw state.Switch, written bool) bool {
	c.unwritten = nil
	if !written {
		sw.Who += " (until this reaper ends)"
		c.unwritten = &sw
	}
	return c.reload()
}

// setNetnsProblem sets why no network namespace can be entered, "" if one can, and reports whether what may be done has
// changed.
func (c *caps) setNetnsProblem(problem string) bool {
	if problem == c.view.NetnsProblem {
		return false
	}
	c.view.NetnsProblem = problem
	return c.reload()
}

// reload reads the switch, and reports whether what may be done has changed.
func (c *caps) reload() bool {
	was := c.view.Effective
	c.load()
	return c.view.Effective != was
}

// sameFile reports whether a file has not changed between two looks. A program can set the time of modification, and may
// keep it: the time of change is the kernel's own.
func sameFile(a, b os.FileInfo) bool {
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

// load reads the switch. One that cannot be read may have said "observe", so that is what happens.
func (c *caps) load() {
	c.seen = nil
	if info, err := os.Stat(c.path); err == nil {
		c.seen = info
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

// limit returns the most that may be done in a network namespace, whatever its policies say.
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
