// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// Flood implements disturb.Pods.
func (w *World) Flood(ctx context.Context, name string, n int) (end func() error, err error) {
	path, err := addNetns(name)
	if err != nil {
		return nil, err
	}
	p := model.Policy{
		Mode: model.Observe, ProbeAfter: model.Never, ProbeCount: 1, ProbeInterval: time.Second,
		CloseWaitGrace: time.Hour, FinWait2Grace: time.Hour, PendingGrace: time.Hour,
	}
	if err := w.plugin(ctx, "ADD", name, "eth0", path, conf(p)); err != nil {
		return nil, errors.Join(err, node.DeleteNetns(name))
	}
	var all []net.Conn
	end = func() error {
		for _, c := range all {
			_ = c.Close() // all of them go
		}
		return errors.Join(w.plugin(context.WithoutCancel(ctx), "DEL", name, "eth0", path, conf(p)), node.DeleteNetns(name))
	}
	err = node.In(path, func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		for range n {
			client, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				return err
			}
			all = append(all, client)
			server, err := l.Accept()
			if err != nil {
				return err
			}
			all = append(all, server)
			if err := client.(*net.TCPConn).CloseWrite(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("flood %s: %w", name, err), end())
	}
	return end, nil
}

// Vanish implements disturb.Pods.
func (w *World) Vanish(_ context.Context, name string) error {
	n, err := w.namespace(name)
	if err != nil {
		return err
	}
	n.changing.Lock()
	n.isRemoved = true // no ADD follows
	n.changing.Unlock()
	n.mu.Lock()
	n.deleted, n.vanished = true, model.Now()
	n.mu.Unlock()
	for _, p := range n.processes() {
		p.stop()
	}
	return errors.Join(err, node.DeleteNetns(name))
}
