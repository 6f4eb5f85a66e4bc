// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/test/torture/model"
)

// noteClient notes the client's address of a connection, clientOf returns it.
func (w *World) noteClient(id, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients == nil {
		w.clients = make(map[string]string)
	}
	w.clients[id] = address
}

func (w *World) clientOf(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clients[id]
}

func (w *World) setFinished(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished == nil {
		w.finished = make(map[string]bool)
	}
	w.finished[id] = true
}

func (w *World) isFinished(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.finished[id]
}

// Names implements disturb.Pods.
func (w *World) Names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for name, n := range w.namespaces {
		n.mu.Lock()
		if !n.deleted {
			list = append(list, name)
		}
		n.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b string) int { return w.namespaces[a].plan.Index - w.namespaces[b].plan.Index })
	return list
}

// Path implements disturb.Pods.
func (w *World) Path(name string) string { return netnsPath(name) }

// Pod implements disturb.Pods.
func (w *World) Pod(name string) (namespace, pod string) { return "torture", name }

func (w *World) namespace(name string) (*namespace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.namespaces[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("namespace %s is gone", name)
}

// Add implements disturb.Pods.
func (w *World) Add(ctx context.Context, name, ifname string, p model.Policy) error {
	n, err := w.namespace(name)
	if err != nil {
		return nil //nolint:nilerr // the plan has removed it
	}
	return w.change(ctx, n, ifname, &p)
}

// TryAdd implements disturb.Pods.
func (w *World) TryAdd(ctx context.Context, name, ifname string, p model.Policy) error {
	n, err := w.namespace(name)
	if err != nil {
		return err
	}
	c := conf(p)
	c["failurePolicy"] = "ignore"
	return w.plugin(ctx, "ADD", n.plan.Name, ifname, n.path, c)
}

// Policy implements disturb.Pods.
func (w *World) Policy(name, ifname string) (model.Policy, bool) {
	n, err := w.namespace(name)
	if err != nil {
		return model.Policy{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.attachments[ifname]
	return p, ok
}

// Ifnames implements disturb.Pods.
func (w *World) Ifnames(name string) []string {
	n, err := w.namespace(name)
	if err != nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.attachments))
}

// Pause implements disturb.Pods.
func (w *World) Pause() (resume func()) {
	w.quiet.Lock()
	return w.quiet.Unlock
}

// vanishedAt returns when the namespace was deleted without DEL.
func (n *namespace) vanishedAt() model.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.vanished
}
