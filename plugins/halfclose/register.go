// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The reasons why an attachment is no more than observed that are shown as the source of its mode.
const (
	sourceWrongConf     = "wrong configuration"
	sourceNoAnnotations = "annotations unknown at CHECK"
	sourceOtherBoot     = "recorded in another boot"
)

// layers returns what the network and the pod's annotations say of the attachment's policy, to be recorded; what is wrong
// with either is warned of. A configuration with mistakes destroys nothing: it may say other than what was meant.
func (p *plugin) layers(network policy.Network, problems policy.Problems, pod annotations) policy.Layers {
	l := network.Layers(pod.found)
	p.warnings = append(p.warnings, problems.Strings()...)
	if len(problems) > 0 {
		l.Observe = sourceWrongConf
	}
	if network.PodOverrides == policy.OverridesNone {
		p.warnings = append(p.warnings, l.Resolve(0).Problems...) // that they are not read
		l.Annotations = nil
		return l
	}
	p.warnings = append(p.warnings, pod.warnings...)
	if len(pod.warnings) > 0 {
		l.Observe = cmp.Or(l.Observe, policy.SourceWrongAnnotation)
	}
	p.warnings = append(p.warnings, l.Resolve(0).Problems...)
	return l
}

// register writes the record of the call's attachment, and starts a reaper if none runs and the configuration leaves
// that to the plugin. No reaper is a warning and not an error, whatever the failure policy: the record stands, and
// the next ADD tries again.
//
// The order matters. A reaper that exits because it has nothing to do looks for records once more after no process can
// take it for running any longer: so whether one runs is asked after the record is written. Where there is no socket none
// runs, and whether one could be started is found out before, so that the record is written once with what is wrong. It is
// written twice only if the start fails, or if a killed reaper left its socket and no other may be started.
func (p *plugin) register(args *skel.CmdArgs, network string, layers policy.Layers, start policy.ReaperStart) error {
	path, id, err := target(args.Netns)
	if err != nil {
		return err
	}
	boot, err := netns.BootID()
	if err != nil {
		return err
	}
	var reaper program
	var none error // why no reaper can be started
	warned := false
	defer func() {
		if reaper != nil {
			reaper.Close()
		}
	}()
	if start == policy.Auto && !p.reaper.HasSocket() {
		if reaper, none = p.reaper.Find(); none != nil {
			p.warnNoReaper(none)
			warned = true
		}
	}
	record := state.Record{
		Network:    network,
		Attachment: attachment(args),
		Boot:       boot,
		Netns:      state.Netns{Path: path, Identity: id},
		Pod:        podFromArgs(args.Args),
		Layers:     layers,
		Warnings:   p.warnings,
		Plugin:     p.build,
		Time:       p.now().UTC(), // local time would cost a look at the zone file
	}
	if err := p.store.Put(record); err != nil {
		return types.NewError(types.ErrIOFailure, "register the attachment", err.Error())
	}
	if start != policy.Auto || p.reaper.Running() {
		return nil
	}
	if reaper == nil && none == nil {
		reaper, none = p.reaper.Find()
	}
	if none == nil {
		none = reaper.Start()
	}
	if none == nil || warned {
		return nil
	}
	p.warnNoReaper(none)
	record.Warnings = p.warnings
	if err := p.store.Put(record); err != nil {
		p.warnf("%v", err)
	}
	return nil
}

func (p *plugin) warnNoReaper(why error) {
	p.warnf("no reaper runs, and ADD did not start one: %v (halfclose install puts %s in place; or run halfclose reaper as a service)",
		why, launch.ReaperName)
}

// errOwnNamespace says that a path leads to where the plugin itself runs: the host's namespace, or that of
// the container a runtime runs in.
var errOwnNamespace = errors.New("it is the namespace that the plugin runs in itself, which is never recorded")

// target returns the absolute path of a namespace to be recorded, and which one that is. It enters the namespace on the
// calling thread; when it returns, that is back, or the error is netns.ErrNotReturned.
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
		return "", netns.Identity{}, fmt.Errorf("find out which namespace the plugin runs in: %w", err)
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

// invalidNetns is the CNI error for a namespace that cannot be recorded. Where it is the plugin that lacks a
// privilege nothing is wrong with CNI_NETNS, and the CNI specification has no code for that: it is the one of
// an error of any other kind (skel's 999), whose details name the capability.
func invalidNetns(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return types.NewError(types.ErrInternal, "the plugin may not enter the namespace", err.Error())
	}
	return types.NewError(types.ErrInvalidNetNS, "register the attachment", err.Error())
}

// maxPodValue bounds what is recorded of each of a pod's names; Kubernetes allows 253 bytes.
const maxPodValue = 253

// podFromArgs returns the pod that CNI_ARGS names: "K=V;K=V" in any order (CNI spec, "Parameters"). What
// else is in there is for other plugins, and what is not written so is passed over.
func podFromArgs(args string) state.Pod {
	var pod state.Pod
	for pair := range strings.SplitSeq(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if len(value) > maxPodValue {
			value = strings.ToValidUTF8(value[:maxPodValue], "")
		}
		switch key {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Name = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	return pod
}
