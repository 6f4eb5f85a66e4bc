// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// switches set the switch of the node, a namespace or a pod to observe, and lift it.
func switches() []Maker {
	return []Maker{
		maker("node-switch", 2, 4*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.setSwitch(ctx, lasts, nil)
			}
		}),
		maker("pod-switch", 2, 4*time.Second, func(r *rand.Rand) run {
			k, lasts := r.IntN(1<<20), between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				name := n.choose(k)
				if name == "" {
					return nil, nil
				}
				namespace, pod := n.Pods.Pod(name)
				return n.setSwitch(ctx, lasts, []string{name}, "--pod", namespace+"/"+pod)
			}
		}),
		maker("namespace-switch", 2, 4*time.Second, func(r *rand.Rand) run {
			k, lasts := r.IntN(1<<20), between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				resume := n.Pods.Pause() // a new pod of the namespace is observed too
				defer resume()
				chosen := n.choose(k)
				if chosen == "" {
					return nil, nil
				}
				namespace, _ := n.Pods.Pod(chosen)
				var names []string
				for _, name := range n.Pods.Names() {
					if other, _ := n.Pods.Pod(name); other == namespace {
						names = append(names, name)
					}
				}
				return n.setSwitch(ctx, lasts, names, "--namespace", namespace)
			}
		}),
		maker("switch-that-ends", 2, 5*time.Second, func(r *rand.Rand) run {
			lasts := time.Second * time.Duration(1+r.IntN(4))
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				since := model.Now()
				if err := n.command(ctx, "mode", "observe", "--for", lasts.String()); err != nil {
					return nil, err
				}
				from := model.Now() + actionDelay
				if err := sleep(ctx, lasts+actionDelay); err != nil {
					return nil, err
				}
				until := model.Now() + actionDelay
				return []model.Effect{
					// The wall clock counts, from a moment within the command.
					{Kind: model.Observed, Since: since, From: from, To: since + lasts - actionDelay, Until: until},
					{Kind: model.Down, Since: since, From: until, To: since, Until: until},
				}, nil
			}
		}),
	}
}

// setSwitch sets a switch to observe, and lifts it after a time. names are the namespaces that it caps, nil for all.
func (n *Node) setSwitch(ctx context.Context, lasts time.Duration, names []string, scope ...string) ([]model.Effect, error) {
	since := model.Now()
	if err := n.command(ctx, append([]string{"mode", "observe", "--reason", "torture"}, scope...)...); err != nil {
		return nil, err
	}
	from := model.Now() + actionDelay
	if err := sleep(ctx, actionDelay+lasts); err != nil {
		return nil, err
	}
	to := model.Now()
	if err := n.command(ctx, append([]string{"mode", "destroy"}, scope...)...); err != nil {
		return nil, err
	}
	until := model.Now() + actionDelay
	if names == nil {
		names = []string{""}
	}
	var effects []model.Effect
	for _, name := range names {
		effects = append(effects,
			model.Effect{Kind: model.Observed, Since: since, From: from, To: to, Until: until, Netns: name},
			model.Effect{Kind: model.Down, Since: since, From: until, To: since, Until: until, Netns: name})
	}
	return effects, nil
}
