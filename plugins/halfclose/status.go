// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/policy"
)

// status returns an error if every ADD would fail (CNI spec, "STATUS"): the failure policy is fail, and no record can be
// written. An error makes the whole node not ready, so a wrong configuration alone is none: ADD reports that.
func (p *plugin) status(args *skel.CmdArgs) error {
	if _, err := p.read(args); err != nil {
		return err
	}
	network, _ := policy.ParseNetwork(args.StdinData)
	if network.FailurePolicy != policy.Fail {
		return nil
	}
	unusable := func(err error) *types.Error {
		return types.NewError(types.ErrPluginNotAvailable, "the state directory cannot be used, and failurePolicy is fail", err.Error())
	}
	if err := p.guard(p.store.Probe, func() *types.Error { return unusable(errHangs) }); err != nil {
		return unusable(err)
	}
	return nil
}
