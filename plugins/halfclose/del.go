// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/halfclose/halfclose/pkg/state"
)

// del drops the record of the attachment (CNI spec, "DEL"). It needs nothing but the attachment's name, and
// never fails: an error would keep the plugins before it in the chain from cleaning up, and a record that
// stays is inert once its namespace is gone.
func (p *plugin) del(args *skel.CmdArgs) error {
	p.drop(attachment(args))
	return nil
}

// delAnyway is DEL for a call that skel refused. It is taken as if it had been accepted, unless the
// attachment's name is what is wrong or the plugin does not speak the version: a configuration that broke
// since ADD, an unreadable stdin or a missing CNI_PATH must not leave anything behind, and neither must a
// CNI_NETNS that by now leads to the namespace the plugin runs in, which skel complains of after the call.
func (p *plugin) delAnyway(refused *types.Error) *types.Error {
	a := state.Attachment{ContainerID: p.getenv(envContainerID), IfName: p.getenv(envIfName)}
	switch refused.Code {
	case types.ErrIncompatibleCNIVersion:
		return refused
	case types.ErrInvalidEnvironmentVariables:
		if utils.ValidateContainerID(a.ContainerID) != nil || utils.ValidateInterfaceName(a.IfName) != nil {
			return refused
		}
	}
	p.warnf("go on despite: %v", refused)
	p.drop(a)
	return nil
}

// dropSharing drops the records of all attachments of a container, one of which could not be recorded, and those of its
// netns, such as one made by hand: it may ask for less than the others do. An earlier ADD's record of it says what is no
// longer so.
func (p *plugin) dropSharing(args *skel.CmdArgs) {
	in := state.Netns{Path: args.Netns}
	if path, id, err := target(args.Netns); err == nil {
		in = state.Netns{Path: path, Identity: id}
	}
	files, err := p.store.DeleteSharing(args.ContainerID, in)
	if err != nil {
		p.warnf("%v", err)
	}
	if len(files) > 0 {
		p.warnf("no attachment of the container or its network namespace is registered any more, since one could not be recorded, which may be more conservative")
	}
}

func (p *plugin) drop(a state.Attachment) {
	if err := p.store.Delete(a); err != nil {
		p.warnf("%v", err)
	}
}
