// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/policy"
)

// status says whether ADD can be expected to work (CNI spec, "STATUS"). An error makes the whole node not
// ready, so there is one only where ADD would fail for every pod: the failure policy is fail, and nothing
// can be recorded. A wrong configuration alone is for ADD to judge.
func (p *plugin) status(args *skel.CmdArgs) error {
	if _, err := p.read(args); err != nil {
		return err
	}
	network, _ := policy.ParseNetwork(args.StdinData)
	if network.FailurePolicy != policy.Fail {
		return nil
	}
	if err := p.store.Probe(); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "the state directory cannot be used, and failurePolicy is fail", err.Error())
	}
	return nil
}
