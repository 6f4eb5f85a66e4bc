// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// namespaces delete network namespaces without DEL.
func namespaces() []Maker {
	return []Maker{
		maker("vanished", 2, time.Second, func(r *rand.Rand) run {
			k := r.IntN(1 << 20)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				name := n.choose(k)
				if name == "" {
					return nil, nil
				}
				return nil, n.Pods.Vanish(ctx, name)
			}
		}),
		// Another namespace, which is not registered, is mounted at the path.
		maker("replaced", 2, 6*time.Second, func(r *rand.Rand) run {
			name, sockets := fmt.Sprintf("site-%x", r.Uint32()), 1+r.IntN(4)
			return func(ctx context.Context, n *Node) (effects []model.Effect, err error) {
				path, remove, err := n.Pods.Site(ctx, name, sitePolicy())
				if err != nil {
					return nil, err
				}
				defer func() { err = errors.Join(err, remove()) }()
				if err := sleep(ctx, 200*time.Millisecond); err != nil { // the reaper may know it by then, or not
					return nil, err
				}
				if err := node.DeleteNetns(name); err != nil {
					return nil, err
				}
				if _, err := node.AddNetns(name); err != nil {
					return nil, err
				}
				return nil, n.leakWhereNothingIsRegistered(ctx, path, sockets)
			}
		}),
	}
}

// leakWhereNothingIsRegistered leaks connections in an unregistered namespace, which must stay.
func (n *Node) leakWhereNothingIsRegistered(ctx context.Context, path string, sockets int) error {
	if err := node.In(path, node.SetLoopbackUp); err != nil {
		return err
	}
	return n.leaksStay(ctx, path, sockets, "of an unregistered namespace, where a registered one had been")
}

// leaksStay leaks connections at the path, which must stay although a grace of a second would have passed.
func (n *Node) leaksStay(ctx context.Context, path string, sockets int, what string) error {
	l, err := listenIn(path)
	if err != nil {
		return err
	}
	defer l.Close()
	var all []*halfClosed
	defer func() {
		for _, h := range all {
			h.reset()
		}
	}()
	for range sockets {
		h, err := halfCloseIn(ctx, path, l, 0)
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	if err := sleep(ctx, 4*time.Second); err != nil {
		return err
	}
	for _, h := range all {
		stays, err := h.isHalfClosed()
		if err != nil {
			return err
		}
		if !stays {
			return &Violation{fmt.Sprintf("wrongly destroyed: a socket %s, at %s", what, path)}
		}
	}
	return nil
}
