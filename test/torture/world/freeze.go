// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/cgroup"
	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/plan"
)

// addFreezer moves an owner that the plan freezes into a cgroup of its own.
func (n *namespace) addFreezer(p *process, o plan.Owner) error {
	if !slices.ContainsFunc(o.Freezes, func(f plan.Freeze) bool { return !f.Signal }) {
		return nil
	}
	c, err := cgroup.New(1, nil, "freezer-")
	if errors.Is(err, cgroup.ErrNotMounted) {
		c, err = cgroup.New(2, nil, "freezer-")
	}
	if err != nil {
		return err
	}
	n.freezers[p] = c
	return c.Add(p.cmd.Process.Pid)
}

// removeFreezer removes a cgroup, once its processes are gone.
func removeFreezer(c *cgroup.Cgroup) (err error) {
	for end := model.Now() + time.Minute; model.Now() < end; time.Sleep(10 * time.Millisecond) {
		if err = c.Remove(); err == nil {
			return nil
		}
	}
	return err
}

// freezeOwner freezes or stops an owner at the times of the plan.
func (w *World) freezeOwner(ctx context.Context, n *namespace, owner int) error {
	p := n.owners[owner]
	for _, f := range n.plan.Owners[owner].Freezes {
		if w.sleepUntil(ctx, f.At) != nil || n.isDeleted() {
			return nil
		}
		freeze, thaw := func() error { return p.cmd.Process.Signal(unix.SIGSTOP) }, func() error { return p.cmd.Process.Signal(unix.SIGCONT) }
		if c := n.freezers[p]; c != nil && !f.Signal {
			freeze, thaw = func() error { return freezeCgroup(c) }, c.Thaw
		}
		w.cfg.Log("owner %d of %s freezes for %v (SIGSTOP: %v)", owner, n.plan.Name, f.For, f.Signal)
		if err := w.recordPause(n, p, model.Frozen, freeze); err != nil {
			return err
		}
		interrupted := pause(ctx, f.For)
		if err := w.recordPause(n, p, model.Thawed, thaw); err != nil {
			return err
		}
		if interrupted != nil {
			return nil
		}
	}
	return nil
}

// freezeCgroup freezes a cgroup, and waits until its processes are frozen.
func freezeCgroup(c *cgroup.Cgroup) error {
	if err := c.Freeze(); err != nil {
		return err
	}
	for end := model.Now() + time.Minute; ; time.Sleep(time.Millisecond) {
		frozen, err := c.IsFrozen()
		if frozen || err != nil {
			return err
		}
		if model.Now() > end {
			return errors.New("the owners are not frozen")
		}
	}
}

// recordPause stops or continues a process, and notes it for each of its sockets.
func (w *World) recordPause(n *namespace, p *process, kind model.EventKind, do func() error) error {
	before := model.Now()
	if err := do(); err != nil && !n.isDeleted() {
		return err
	}
	after := model.Now() + 10*time.Millisecond // each thread stops when it next returns to user mode
	n.mu.Lock()
	defer n.mu.Unlock()
	for t := range n.tracks[p] {
		t.add(model.Event{Kind: kind, Span: model.Span{Before: before, After: after}})
	}
	return nil
}
