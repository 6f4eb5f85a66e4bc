// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// Site implements disturb.Pods.
func (w *World) Site(ctx context.Context, name string, p model.Policy) (path string, remove func() error, err error) {
	if path, err = addNetns(name); err != nil {
		return "", nil, err
	}
	remove = func() error {
		return errors.Join(w.plugin(context.WithoutCancel(ctx), "DEL", name, "eth0", path, conf(p)), node.DeleteNetns(name))
	}
	if err := w.plugin(ctx, "ADD", name, "eth0", path, conf(p)); err != nil {
		return "", nil, errors.Join(err, node.DeleteNetns(name))
	}
	return path, remove, nil
}
