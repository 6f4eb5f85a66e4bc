// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/state"
)

// gc removes the records of this network's attachments that are not in the runtime's list (CNI spec, "GC"). Without a list
// it removes nothing. An error does not stop it; it returns all errors. A file that is no record belongs to no network and
// stays.
func (p *plugin) gc(args *skel.CmdArgs) error {
	c, err := p.read(args)
	if err != nil {
		return err
	}
	keep, listed, err := c.validAttachments()
	if err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "no record was removed", err.Error())
	}
	if !listed {
		return nil
	}
	return p.guard(func() error { return p.removeOthers(c.Name, keep) }, func() *types.Error {
		return types.NewError(types.ErrIOFailure, "not every record was removed", errHangs.Error())
	})
}

// removeOthers removes the records of a network's attachments except for those to keep.
func (p *plugin) removeOthers(network string, keep []state.Attachment) error {
	listing, err := p.store.List(context.Background())
	if err != nil {
		return types.NewError(types.ErrIOFailure, "no record was removed", err.Error())
	}
	var errs []error
	for _, r := range listing.Records {
		if r.Network == network && !slices.Contains(keep, r.Attachment) {
			errs = append(errs, p.store.Remove(r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return types.NewError(types.ErrIOFailure, "not every record was removed", err.Error())
	}
	return nil
}
