// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// check makes sure that the attachment is recorded (CNI spec, "CHECK"). An existing record is left as it is, and is an
// error if it names another netns than CNI_NETNS; a missing one is written again, and so is one of another boot,
// which names none. What cannot be read as a record stays: it holds its netns at observe, a newer version may have
// written it, and its own DEL deletes it. Nothing else is an error: some runtimes take one for the end of the pod.
func (p *plugin) check(args *skel.CmdArgs) error {
	c, err := p.read(args)
	if err != nil {
		return err
	}
	record, err := p.store.Get(attachment(args))
	if errors.Is(err, fs.ErrNotExist) {
		p.warnf("the record was missing, and is written again")
		p.repair(args, c, "")
		return nil
	}
	if err != nil {
		p.warnf("the record is left as it is: %v", err)
		return nil
	}
	boot, err := netns.BootID()
	switch {
	case err != nil:
		p.warnf("cannot compare the record with CNI_NETNS: %v", err)
		return nil
	case record.Inert(boot):
		p.warnf("the record was made in another boot, and is written again: the mode is at most observe")
		p.repair(args, c, sourceOtherBoot)
		return nil
	}
	return p.compare(record, args.Netns)
}

// repair writes the record as ADD would, but where there is a doubt it only observes. Besides the caller's
// there is one where annotations may have shaped the lost record and are not at hand: they may have been more
// conservative than the network.
func (p *plugin) repair(args *skel.CmdArgs, c conf, doubt string) {
	network, problems := policy.ParseNetwork(args.StdinData)
	annotations := c.annotations()
	layers := p.layers(network, problems, annotations)
	if !annotations.atHand && network.PodAnnotations && network.PodOverrides != policy.OverridesNone {
		p.warnf("CHECK did not get the pod's annotations, which may have been more conservative: the mode is at most observe")
		layers.Observe = cmp.Or(layers.Observe, sourceNoAnnotations)
	}
	layers.Observe = cmp.Or(layers.Observe, doubt)
	if err := p.register(args, c.Name, layers, network.Reaper); err != nil {
		p.warnf("%v", err)
		p.dropSharing(args)
	}
}

// compare returns an error if the record names another namespace than the one that the path leads to. Where
// that cannot be told, nothing is wrong that the record could tell.
func (p *plugin) compare(r state.Record, path string) error {
	id, err := identify(path)
	if err != nil {
		p.warnf("cannot compare the record with CNI_NETNS: %v", err)
		return nil
	}
	if r.Netns.Same(id) {
		return nil
	}
	return types.NewError(types.ErrInvalidNetNS, "the record of the attachment names another namespace than CNI_NETNS",
		fmt.Sprintf("it names %s (%s), and %s is %s", r.Netns.Identity, r.Netns.Path, path, id))
}

// identify returns which namespace a path leads to; without the right to enter it, all but its cookie.
func identify(path string) (netns.Identity, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return netns.Identity{}, err
	}
	h, err := netns.Open(path)
	if err != nil {
		return netns.Identity{}, err
	}
	defer h.Close()
	thread, err := netns.LockThread()
	if err != nil {
		return h.Stat(), nil
	}
	defer thread.Close()
	id, err := thread.Identify(h)
	switch {
	case errors.Is(err, netns.ErrNotReturned):
		return netns.Identity{}, err
	case err != nil:
		return h.Stat(), nil
	}
	return id, nil
}
