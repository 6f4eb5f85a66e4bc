// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// dryRunBatch is the number of candidates that a dry run judges in one call of the loop: a few milliseconds of its time.
const dryRunBatch = 2_000

// DryRun returns what a switch to destroy of a scope would do at once. It judges the candidates by their last looks.
func (r *Reaper) DryRun(ctx context.Context, scope state.Scope) (api.DryRun, error) {
	run := api.DryRun{
		Scope: scope, Pods: []api.DryRunPod{}, // never null
		DestroysPerSecond: r.cfg.MaxDestroysPerSecond, AsksPerSecond: r.cfg.MaxAsksPerSecond,
	}
	type rest struct {
		id      netns.Identity
		cookies []uint64
	}
	var left []rest
	err := r.each(ctx, func(*loop) {}, func(_ *loop, ns *registered) {
		if !slices.ContainsFunc(ns.records, func(r state.Record) bool { return scope.Covers(r.Pod, r.ContainerID) }) {
			return
		}
		n := rest{id: ns.Identity}
		for cookie := range ns.candidates {
			n.cookies = append(n.cookies, cookie)
		}
		left = append(left, n)
	})
	for _, n := range left {
		var pod api.DryRunPod
		for batch := range slices.Chunk(n.cookies, dryRunBatch) {
			if err == nil {
				err = r.read(ctx, func(l *loop) { l.dryRun(&pod, scope, n.id, batch) })
			}
		}
		if pod.HalfClosed > 0 {
			run.Pods = append(run.Pods, pod)
			run.Destroys, run.Questions = run.Destroys+pod.Destroys, run.Questions+pod.Questions
		}
	}
	slices.SortFunc(run.Pods, func(a, b api.DryRunPod) int {
		return cmp.Or(cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name), cmp.Compare(a.ContainerID, b.ContainerID))
	})
	return run, err
}

// dryRun judges some candidates of one network namespace without the switch of a scope. The limits of all network
// namespaces are changed while it runs: the other end of a connection may be in another one.
func (l *loop) dryRun(pod *api.DryRunPod, scope state.Scope, id netns.Identity, cookies []uint64) {
	ns := l.registry.namespaces[id]
	if ns == nil {
		return
	}
	lifted := l.caps.without(scope)
	for _, n := range l.registry.namespaces {
		was := n.limit
		n.limit = lifted.limit(n)
		defer func() { n.limit = was }() // all of them at the end
	}
	pod.Pod, pod.ContainerID, pod.Mode = ns.records[0].Pod, ns.records[0].ContainerID, ns.mode()
	pod.CappedBy = lifted.cappedBy(ns, policy.Destroy)
	for i := range ns.policies {
		if m := ns.policies[i].Mode; m != policy.Destroy {
			pod.CappedBy = append(pod.CappedBy, "its policy, mode "+m.String())
			break
		}
	}
	now := l.clock.Now()
	for _, cookie := range cookies {
		c := ns.candidates[cookie]
		if c == nil || !c.isConfirmed() {
			continue
		}
		pod.HalfClosed++
		switch v := l.tracker.withOthers(c, &c.history, l.tracker.judgeAlone(c, now), now); {
		case v.Reason == policy.Destroyable:
			pod.Destroys++
		case v.Reason == policy.AskingPeer && l.tracker.canAsk:
			pod.Questions++
		case v.Reason == policy.WouldDestroy:
			pod.Kept++
		}
	}
}

// without returns the caps as they would be after a switch to destroy of a scope.
func (c *caps) without(scope state.Scope) *caps {
	h := *c
	if scope.IsNode() { // the new switch replaces an unreadable file
		h.view.SwitchProblem = ""
	}
	h.switches = h.switches.With(state.Switch{Scope: scope, Mode: policy.Destroy})
	h.apply(c.wall())
	return &h
}
