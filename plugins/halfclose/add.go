// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/policy"
)

// add records the attachment and passes on the result of the plugins before it (CNI spec, "ADD"). A second ADD of the
// same attachment replaces the record.
//
// Without a prevResult it fails whatever the failure policy: the chain is wrong. Any other error fails it only if the
// failure policy is fail.
func (p *plugin) add(args *skel.CmdArgs) error {
	c, err := p.read(args)
	if err != nil {
		return err
	}
	result, err := c.result()
	switch {
	case errors.Is(err, errNoPrevResult):
		return types.NewError(types.ErrInvalidNetworkConfig, "halfclose is a chained plugin", err.Error())
	case err != nil:
		return types.NewError(types.ErrDecodingFailure, "read prevResult", err.Error())
	}
	p.result = result

	network, problems := policy.ParseNetwork(args.StdinData)
	fail := network.FailurePolicy == policy.Fail
	if fail && len(problems) > 0 {
		return types.NewError(types.ErrInvalidNetworkConfig, "invalid configuration of halfclose", problems.Error())
	}
	layers := p.layers(network, problems, c.annotations())
	err = p.guard(func() error { return p.register(args, c.Name, layers, network.Reaper, p.store.Put) }, func() *types.Error {
		if fail {
			return types.NewError(types.ErrIOFailure, "register the attachment", errHangs.Error())
		}
		p.logf("register the attachment: %v", errHangs)
		p.dropSharingPath(args)
		return nil
	})
	if err != nil {
		if fail {
			return err
		}
		p.logf("%v", err)
		p.dropSharing(args)
	}
	return nil
}
