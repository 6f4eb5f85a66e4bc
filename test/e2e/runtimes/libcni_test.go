// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"context"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/policy"
)

// libcniCaller is the library that runtimes call plugins with, used as its documentation shows.
type libcniCaller struct {
	cni *libcni.CNIConfig
}

func (l *libcniCaller) start(*testing.T) { l.cni = libcni.NewCNIConfig([]string{pluginDir}, nil) }

// list reads the network, as it is now.
func (l *libcniCaller) list(t *testing.T) *libcni.NetworkConfigList {
	t.Helper()
	list, err := libcni.NetworkConfFromFile(conflist)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func runtimeConf(p *pod, annotations map[string]string) *libcni.RuntimeConf {
	c := &libcni.RuntimeConf{ContainerID: p.id, NetNS: p.netns, IfName: "eth0"}
	if annotations != nil {
		c.CapabilityArgs = map[string]any{policy.CapabilityPodAnnotations: annotations}
	}
	return c
}

func (l *libcniCaller) add(t *testing.T, p *pod, annotations map[string]string) error {
	t.Helper()
	_, err := l.cni.AddNetworkList(t.Context(), l.list(t), runtimeConf(p, annotations))
	return err
}

func (l *libcniCaller) del(t *testing.T, p *pod) error {
	t.Helper()
	return l.cni.DelNetworkList(context.Background(), l.list(t), runtimeConf(p, nil)) // also when the test has ended
}

func (l *libcniCaller) check(t *testing.T, p *pod) error {
	t.Helper()
	return l.cni.CheckNetworkList(t.Context(), l.list(t), runtimeConf(p, nil))
}

func (l *libcniCaller) gc(t *testing.T, valid ...*pod) error {
	t.Helper()
	args := &libcni.GCArgs{}
	for _, p := range valid {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: p.id, IfName: "eth0"})
	}
	return l.cni.GCNetworkList(t.Context(), l.list(t), args)
}

func (l *libcniCaller) status(t *testing.T) error {
	t.Helper()
	return l.cni.GetStatusNetworkList(t.Context(), l.list(t))
}
