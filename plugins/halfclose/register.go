// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The reasons why an attachment is at most observed, shown as the source of its mode.
const (
	sourceNoAnnotations = "annotations unknown at CHECK"
	sourceOtherBoot     = "recorded in another boot"
	sourceOtherNetns    = "recorded with another netns"
	sourceDamaged       = "record damaged before CHECK"
)

// layers returns the policy layers of the attachment to record, and warns of mistakes in the configuration and the pod's
// annotations.
func (p *plugin) layers(network policy.Network, problems policy.Problems, pod policy.PodAnnotations) policy.Layers {
	l, warnings := network.Attach(problems, pod)
	p.warn(warnings...)
	return l
}

// register writes the record of the call's attachment with write, a method of the store. If no reaper runs and start is
// auto, it starts one. Without a reaper it only warns, whatever the failure policy: the record is valid, and the next ADD
// tries again.
//
// The order matters. An idle reaper removes its socket and then looks for records once more before it exits, so register
// has to ask again whether a reaper runs once the record is written. The record itself is written once, with the reason why
// no reaper can be started if that was known before.
func (p *plugin) register(args *skel.CmdArgs, network string, layers policy.Layers, start policy.ReaperStart, write func(state.Record) error) error {
	path, id, err := target(args.Netns)
	if err != nil {
		return err
	}
	boot, err := netns.BootID()
	if err != nil {
		return err
	}
	reaper := &lazyProgram{find: p.reaper.Find}
	defer reaper.close()
	if start == policy.Auto && !p.reaper.Running() {
		if err := reaper.open(); err != nil {
			p.warnf(noReaper, err, launch.ReaperName)
		}
	}
	record := state.Record{
		Network:    network,
		Attachment: attachment(args),
		Boot:       boot,
		Netns:      state.Netns{Path: path, Identity: id},
		Pod:        state.ParsePod(args.Args),
		Layers:     layers,
		Warnings:   p.warned(),
		Plugin:     p.build,
		Time:       p.now().UTC(), // local time would read the zone file
	}
	if err := write(record); err != nil {
		return types.NewError(types.ErrIOFailure, "register the attachment", err.Error())
	}
	if start == policy.Auto && !p.reaper.Running() {
		if warned, err := reaper.failed(), reaper.start(); err != nil && !warned {
			p.logf(noReaper, err, launch.ReaperName)
		}
	}
	return nil
}

// noReaper is the warning that no reaper runs. Its arguments are why none was started, and the program's name.
const noReaper = state.WarnNoReaper + ", and ADD cannot start one: %v (halfclose install installs %s; or run halfclose reaper as a service)"

// lazyProgram is the reaper's program, opened at its first use.
type lazyProgram struct {
	find    func() (program, error)
	program program
	err     error
}

func (l *lazyProgram) open() error {
	if l.program == nil && l.err == nil {
		l.program, l.err = l.find()
	}
	return l.err
}

// failed reports whether the program was looked for and may not be started.
func (l *lazyProgram) failed() bool { return l.err != nil }

func (l *lazyProgram) start() error {
	if err := l.open(); err != nil {
		return err
	}
	return l.program.Start()
}

func (l *lazyProgram) close() {
	if l.program != nil {
		l.program.Close()
	}
}

// errOwnNamespace is the error of a path that leads to the plugin's own netns: the host's, or that of the container in
// which a runtime runs.
var errOwnNamespace = errors.New("it is the network namespace of the plugin itself, which is never recorded: the runtime must pass the container's")

// target returns the absolute path and the identity of the netns to record. It enters the netns on the calling thread and
// leaves it before it returns, unless the error is netns.ErrNotReturned.
func target(path string) (string, netns.Identity, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", netns.Identity{}, invalidNetns(err)
	}
	h, err := netns.Open(path)
	if err != nil {
		return "", netns.Identity{}, invalidNetns(err)
	}
	defer h.Close()
	thread, err := netns.LockThread()
	if err != nil {
		return "", netns.Identity{}, fmt.Errorf("identify the plugin's own network namespace: %w", err)
	}
	defer thread.Close()
	if thread.Stat().Same(h.Stat()) {
		return "", netns.Identity{}, invalidNetns(fmt.Errorf("CNI_NETNS %q: %w", path, errOwnNamespace))
	}
	id, err := thread.Identify(h)
	if err != nil {
		return "", netns.Identity{}, invalidNetns(err)
	}
	return path, id, nil
}

// invalidNetns returns the CNI error for a netns that cannot be recorded. If the plugin lacks a privilege, CNI_NETNS is
// right; the CNI specification has no code for that, so the error has skel's code 999 and names the capability.
func invalidNetns(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return types.NewError(types.ErrInternal, "the plugin may not enter the network namespace", err.Error())
	}
	return types.NewError(types.ErrInvalidNetNS, "register the attachment", err.Error())
}
