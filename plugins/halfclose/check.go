// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// check makes sure that the attachment is recorded with the netns of CNI_NETNS (CNI spec, "CHECK"). It repairs a record that
// is missing, damaged, of another boot, or of another netns, and keeps any other: what the configuration says now may not be
// what it said at ADD. A repair is a warning in the log and no error: after one, CRI-O reports the pod without an address,
// and the kubelet recreates it.
//
// A record that check cannot read for another reason stays, since a newer version may have written it. Such a file holds
// its netns at observe until the attachment's DEL removes it.
func (p *plugin) check(args *skel.CmdArgs) error {
	c, err := p.read(args)
	if err != nil {
		return err
	}
	return p.guard(func() error { return p.compare(args, c) }, func() *types.Error {
		p.logf("cannot check the attachment's record: %v", errHangs)
		return nil
	})
}

// compare repairs the record of the call's attachment unless it is as ADD has left it.
func (p *plugin) compare(args *skel.CmdArgs, c conf) error {
	record, err := p.store.Get(attachment(args))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.logf("recreated the attachment's record, which was missing")
		p.repair(args, c, "", p.store.Put)
		return nil
	case errors.Is(err, state.ErrInvalid):
		p.logf("recreated the attachment's record, which was damaged (%v): the mode is at most observe", err)
		p.repair(args, c, sourceDamaged, p.store.Add)
		return nil
	case err != nil:
		p.logf("kept the attachment's record, which cannot be read: %v", err)
		return nil
	}
	boot, err := netns.BootID()
	switch {
	case err != nil:
		p.logf("cannot compare the record's netns with CNI_NETNS: %v", err)
		return nil
	case record.Inert(boot):
		p.logf("recreated the attachment's record, which was of another boot: the mode is at most observe")
		p.repair(args, c, sourceOtherBoot, p.store.Put)
		return nil
	}
	at, err := identify(args.Netns)
	switch {
	case err != nil:
		p.logf("cannot compare the record's netns with CNI_NETNS: %v", err)
	case !record.Netns.Same(at):
		p.logf("added a record of the netns in CNI_NETNS: the attachment's record names %s (%s), but %s is %s. The mode is at most observe",
			record.Netns.Identity, record.Netns.Path, args.Netns, at)
		p.repair(args, c, sourceOtherNetns, p.store.Add)
	}
	return nil
}

// repair writes the record as ADD would, with a mode of at most observe if there is a doubt that the policy is the one of
// ADD. It adds such a doubt itself if annotations may have made the lost policy more conservative and the runtime did not
// pass them to CHECK. If it cannot write the record, no attachment of the container stays registered.
func (p *plugin) repair(args *skel.CmdArgs, c conf, doubt string, write func(state.Record) error) {
	network, problems := policy.ParseNetwork(args.StdinData)
	annotations := c.annotations()
	layers := p.layers(network, problems, annotations)
	if !annotations.Passed && network.PodAnnotations && network.PodOverrides != policy.OverridesNone {
		p.logf("the runtime did not pass the pod's annotations to CHECK: the mode is at most observe, since they may ask for that")
		layers.Observe = cmp.Or(layers.Observe, sourceNoAnnotations)
	}
	layers.Observe = cmp.Or(layers.Observe, doubt)
	if err := p.register(args, c.Name, layers, network.Reaper, write); err != nil {
		p.logf("%v", err)
		p.dropSharing(args)
	}
}

// identify returns the identity of the netns at a path, without its cookie if the plugin may not enter it. netns.Identify
// does the same on a disposable thread, with 12 KiB more code, which would exceed the plugin's size limit.
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
