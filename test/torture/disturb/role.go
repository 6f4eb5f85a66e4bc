// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/torture/model"
)

// proveRoleBeforeRestart leaks a server's connection whose listener is closed once the reaper has seen it, and then restarts
// the reaper. With sock_diag only the saved role still allows the destroy.
func (n *Node) proveRoleBeforeRestart(ctx context.Context, name string) (effects []model.Effect, err error) {
	grace := 4 * time.Second
	p := sitePolicy()
	p.CloseWaitGrace = model.Never
	p.Rules = []model.Rule{{Match: model.Match{Role: model.Server}, Layer: model.Layer{CloseWaitGrace: &grace}}}
	path, remove, err := n.Pods.Site(ctx, name, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	l, err := listenIn(path)
	if err != nil {
		return nil, err
	}
	leak, err := halfCloseIn(ctx, path, l, 0)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	defer leak.reset()
	client := n.client()
	local := leak.server.LocalAddr().String()
	seen := await(ctx, "the reaper has seen that the socket is a server's", func(ctx context.Context) (bool, error) {
		list, err := client.Sockets(ctx, api.SocketQuery{})
		for _, s := range list.Sockets {
			if s.Netns == path && s.Local == local && s.Role == policy.RoleServer {
				return true, err
			}
		}
		return false, err
	})
	if err := errors.Join(seen, l.Close()); err != nil {
		return nil, err
	}
	effects, err = n.replaceReaper(ctx, 0, n.Reaper.Args()...)
	if err != nil {
		return nil, err
	}
	ended := false
	err = await(ctx, "the leak is destroyed or late", func(context.Context) (bool, error) {
		half, err := leak.isHalfClosed()
		ended = !half
		return ended || model.Now() > max(leak.at, effects[0].Until)+3*grace, err
	})
	if err == nil && !ended {
		err = &Violation{fmt.Sprintf("missed: a server's leak in %s, half-closed for %v, with a grace of %v", path, model.Now()-leak.at, grace)}
	}
	return effects, err
}
