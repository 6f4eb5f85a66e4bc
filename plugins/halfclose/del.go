// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/halfclose/halfclose/pkg/state"
)

// del removes the record of the attachment (CNI spec, "DEL"). It needs only the attachment's name, and never fails: an
// error would keep the plugins before it in the chain from cleaning up, and a record that stays is inert once its netns is
// gone.
func (p *plugin) del(args *skel.CmdArgs) error {
	p.drop(attachment(args))
	return nil
}

// delAnyway is DEL for a call that skel refused, unless skel refused the attachment's name or the spec version. A
// configuration that broke since ADD, an unreadable stdin, a missing CNI_PATH, or a CNI_NETNS that now leads to the plugin's
// own netns must not leave a record behind.
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
	p.logf("removed the record, although the call is invalid: %v", refused)
	p.drop(a)
	return nil
}

// dropSharing removes the records of all attachments of a container and of its netns, including those from halfclose
// register. It is for an attachment that cannot be recorded: its policy may be more conservative than the others', and the
// record of an earlier ADD is out of date.
func (p *plugin) dropSharing(args *skel.CmdArgs) {
	in := state.Netns{Path: args.Netns}
	if path, id, err := target(args.Netns); err == nil {
		in = state.Netns{Path: path, Identity: id}
	}
	files, err := p.store.DeleteSharing(args.ContainerID, in)
	if err != nil {
		p.logf("%v", err)
	}
	if len(files) > 0 {
		p.logf("unregistered all attachments of the container and its network namespace: the one that cannot be recorded may be more conservative")
	}
}

func (p *plugin) drop(a state.Attachment) {
	err := p.guard(func() error { return p.store.Delete(a) }, func() *types.Error {
		p.logf("delete record of %s: %v", a, errHangs)
		return nil
	})
	if err != nil {
		p.logf("%v", err)
	}
}

// dropSharingPath is dropSharing while the file system of the netns or of the state directory does not answer.
func (p *plugin) dropSharingPath(args *skel.CmdArgs) {
	_, err := within(dropPatience, func() ([]string, error) {
		return p.store.DeleteSharing(args.ContainerID, state.Netns{Path: args.Netns})
	})
	if err != nil {
		p.logf("%v", err)
	}
}
