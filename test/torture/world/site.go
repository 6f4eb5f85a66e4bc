// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// Site implements disturb.Pods.
func (w *World) Site(ctx context.Context, name string, policies ...model.Policy) (path string, remove func() error, err error) {
	if path, err = addNetns(name); err != nil {
		return "", nil, err
	}
	each := func(ctx context.Context, command string) (err error) {
		for i, p := range policies {
			err = errors.Join(err, w.plugin(ctx, command, name, fmt.Sprintf("eth%d", i), path, conf(p)))
		}
		return err
	}
	remove = func() error { return errors.Join(each(context.WithoutCancel(ctx), "DEL"), node.DeleteNetns(name)) }
	if err := each(ctx, "ADD"); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return path, remove, nil
}
