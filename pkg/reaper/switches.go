// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/state"
)

// scopedOf lists the switches in force that cap a network namespace, except for the node's: those of every pod, namespace
// and container among its records.
func (c *caps) scopedOf(ns *registered) (list []state.Switch) {
	if len(c.inForce.Scoped) == 0 {
		return nil
	}
	seen := make(map[state.Scope]bool)
	for i := range ns.records {
		for _, sw := range c.inForce.For(ns.records[i].Pod, ns.records[i].ContainerID) {
			if !seen[sw.Scope] {
				seen[sw.Scope] = true
				list = append(list, sw)
			}
		}
	}
	return list
}

// expire applies the switches again if one of them has ended, or if the clock was set so that one is in force again. It
// reports whether any mode has changed.
func (c *caps) expire(now time.Time) bool {
	in := c.switches.At(now)
	if (in.Node == nil) == (c.inForce.Node == nil) && isSameScopes(in.Scoped, c.inForce.Scoped) {
		return false
	}
	was, scoped := c.view.Effective, c.inForce.Scoped
	c.apply(now)
	return c.view.Effective != was || !isSameScopes(scoped, c.inForce.Scoped)
}

func isSameScopes(a, b []state.Switch) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Scope != b[i].Scope {
			return false
		}
	}
	return true
}

func isSameSwitch(a, b state.Switch) bool {
	return a.Scope == b.Scope && a.Mode == b.Mode && a.Who == b.Who && a.Reason == b.Reason && a.When.Equal(b.When) && a.Until.Equal(b.Until)
}

// scopeNames lists what the switches cap, in words.
func scopeNames(list []state.Switch) string {
	names := make([]string, len(list))
	for i, sw := range list {
		names[i] = sw.ScopeName()
	}
	return strings.Join(names, " and ")
}

// ofScope returns " of SCOPE", or "" for the node.
func ofScope(s state.Scope) string {
	if s.IsNode() {
		return ""
	}
	return " of " + s.ScopeName()
}

// noticeSwitch logs an unreadable switch once, and each switch that is set, changes, is lifted or ends.
func (l *loop) noticeSwitch() {
	problem := l.caps.view.SwitchProblem
	if problem != "" && problem != l.switchProblem {
		l.warnings.warn(WarnSwitch, "cannot read the mode switch: observing only", "error", problem)
	}
	l.switchProblem = problem
	was, is := l.loggedSwitches, l.caps.inForce
	if was.Node == is.Node && isSameScopes(was.Scoped, is.Scoped) && (len(is.Scoped) == 0 || &was.Scoped[0] == &is.Scoped[0]) {
		return // neither read nor ended since
	}
	l.loggedSwitches = is
	for _, sw := range all(is) {
		if old, ok := was.Of(sw.Scope); !ok || !isSameSwitch(old, sw) {
			l.log.Info("switch set", "scope", sw.ScopeName(), "mode", sw.Mode.String(), "by", sw.By())
		}
	}
	now := l.clock.Wall()
	for _, sw := range all(was) {
		_, ok := is.Of(sw.Scope)
		switch {
		case ok:
		case !sw.InForce(now):
			l.log.Info("switch ended", "scope", sw.ScopeName(), "mode", sw.Mode.String(), "by", sw.By())
		default:
			l.log.Info("switch lifted", "scope", sw.ScopeName(), "mode", sw.Mode.String(), "by", sw.By())
		}
	}
}

// all lists the switches, the node's first.
func all(s state.Switches) (list []state.Switch) {
	if s.Node != nil {
		list = append(list, *s.Node)
	}
	return append(list, s.Scoped...)
}
