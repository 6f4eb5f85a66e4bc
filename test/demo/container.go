// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

// container is the parts of a container that the demo needs: a network namespace, its attachment, and a process.
type container struct {
	name    string
	runtime *libcni.RuntimeConf
	addr    netip.Addr
	process *process
}

// newContainer creates the network namespace, as a runtime does before ADD.
func newContainer(name string, annotations map[string]string) (*container, error) {
	path, err := node.AddNetns(name)
	if err != nil {
		return nil, err
	}
	return &container{name: name, runtime: &libcni.RuntimeConf{
		ContainerID:    "demo-" + name,
		NetNS:          path,
		IfName:         "eth0",
		Args:           [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "demo"}, {"K8S_POD_NAME", name}},
		CapabilityArgs: map[string]any{policy.CapabilityPodAnnotations: annotations},
	}}, nil
}

// attach calls ADD of the network, and reads the container's address from the result.
func (c *container) attach(ctx context.Context, cni *libcni.CNIConfig, network *libcni.NetworkConfigList) error {
	result, err := cni.AddNetworkList(ctx, network, c.runtime)
	if err != nil {
		return fmt.Errorf("ADD %s: %w", c.name, err)
	}
	r, err := types100.NewResultFromResult(result)
	if err != nil {
		return fmt.Errorf("read the result of ADD %s: %w", c.name, err)
	}
	if len(r.IPs) != 1 {
		return fmt.Errorf("ADD %s: the result has %d addresses, not 1", c.name, len(r.IPs))
	}
	addr, ok := netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
	if !ok {
		return fmt.Errorf("ADD %s: address %s is not IPv4", c.name, r.IPs[0].Address.IP)
	}
	c.addr = addr
	return nil
}

// start starts the container's process.
func (c *container) start(comm string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.process = &process{cmd: node.Command(c.runtime.NetNS, self, peerArg, comm)}
	if err := c.process.start(); err != nil {
		return fmt.Errorf("start the process of %s: %w", c.name, err)
	}
	return nil
}

// process is a peer that executes commands from the demo.
type process struct {
	*peer.Client
	cmd *exec.Cmd
	in  io.WriteCloser
}

func (p *process) start() error {
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = os.Stderr
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.Client, err = peer.NewClient(in, out)
	return err
}

// end closes the stdin of the process, and waits until it has exited.
func (p *process) end() error {
	if err := p.in.Close(); err != nil {
		return err
	}
	return p.cmd.Wait()
}
