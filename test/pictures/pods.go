// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// pod is a pod with one program, which leaks.
type pod struct {
	namespace, name string
	command         string            // the name of the program's process
	annotations     map[string]string // of its policy
	leak            leak
}

// pods are the pods of the pictures. What is on their other ends is outside of the node's pods.
var pods = []pod{
	{
		// A connection pool that never looks at the connections that the database has closed.
		namespace: "shop", name: "cart-6f7d9c5b8-x2kqp", command: "java",
		leak: leak{Role: client, Port: 5432, State: closeWait, Count: 240, Every: 700 * time.Millisecond},
	},
	{
		// A proxy that has closed the client's side, and waits for the backend's.
		namespace: "edge", name: "ingress-nginx-4t9wz", command: "nginx",
		leak: leak{Role: server, Port: 8443, State: finWait2, Count: 86, Every: 2 * time.Second},
	},
	{
		namespace: "payments", name: "ledger-0", command: "python3",
		annotations: map[string]string{policy.AnnotationGrace: "never"},
		leak:        leak{Role: client, Port: 443, State: closeWait, Count: 31, Every: 5 * time.Second},
	},
	{
		namespace: "search", name: "indexer-5d8f6-mzv7n", command: "node",
		annotations: map[string]string{policy.AnnotationProbeAfter: "20s"},
		leak:        leak{Role: client, Port: 9200, State: closeWait, Count: 12, Every: 6 * time.Second, Alive: true},
	},
}

// cluster is one node's network, and the outside.
type cluster struct {
	cni     *libcni.CNIConfig
	network *libcni.NetworkConfigList
	outside *libcni.NetworkConfigList // the same network, without halfclose
	peers   int                       // that were started
	started []*exec.Cmd
	exited  chan error
}

const conflist = "deploy/cni/10-halfclose.conflist"

func newCluster(_ context.Context) (*cluster, error) {
	network, err := libcni.NetworkConfFromFile(conflist)
	if err != nil {
		return nil, err
	}
	var plain map[string]any
	if err := json.Unmarshal(network.Bytes, &plain); err != nil {
		return nil, err
	}
	plugins, ok := plain["plugins"].([]any)
	if !ok || len(plugins) != 3 {
		return nil, fmt.Errorf("%s has not three plugins", conflist)
	}
	plain["plugins"] = plugins[:1]
	b, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	outside, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		return nil, err
	}
	return &cluster{
		cni: libcni.NewCNIConfig([]string{node.BinDir + "/cni"}, nil), network: network, outside: outside, exited: make(chan error, 2*len(pods)),
	}, nil
}

// add attaches a pod and its other end, and starts both programs: the one that listens first.
func (c *cluster) add(ctx context.Context, p pod) error {
	c.peers++
	inside, err := c.attach(ctx, c.network, p.name, &libcni.RuntimeConf{
		Args:           [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.namespace}, {"K8S_POD_NAME", p.name}},
		CapabilityArgs: map[string]any{policy.CapabilityPodAnnotations: p.annotations},
	})
	if err != nil {
		return err
	}
	peer, err := c.attach(ctx, c.outside, fmt.Sprintf("outside-%d", c.peers), &libcni.RuntimeConf{})
	if err != nil {
		return err
	}
	mine, other := p.leak, p.leak.other()
	mine.Peer, other.Peer = peer.address, inside.address
	if p.leak.Role == server {
		return c.startAll(inside.start(p.command, mine), peer.start("peer", other))
	}
	return c.startAll(peer.start("peer", other), inside.start(p.command, mine))
}

// attached is a network namespace with an address.
type attached struct {
	netns   string
	address netip.Addr
}

func (c *cluster) attach(ctx context.Context, network *libcni.NetworkConfigList, name string, rt *libcni.RuntimeConf) (attached, error) {
	path, err := node.AddNetns(name)
	if err != nil {
		return attached{}, err
	}
	rt.ContainerID, rt.NetNS, rt.IfName = name, path, "eth0"
	result, err := c.cni.AddNetworkList(ctx, network, rt)
	if err != nil {
		return attached{}, fmt.Errorf("ADD: %w", err)
	}
	r, err := types100.NewResultFromResult(result)
	if err != nil {
		return attached{}, err
	}
	if len(r.IPs) != 1 {
		return attached{}, fmt.Errorf("the result of ADD has %d addresses", len(r.IPs))
	}
	address, ok := netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
	if !ok {
		return attached{}, fmt.Errorf("address %s is not IPv4", r.IPs[0].Address.IP)
	}
	return attached{netns: path, address: address}, nil
}

// start prepares the program of a network namespace.
func (a attached) start(command string, l leak) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := node.Command(a.netns, self, programArg, command, l.String())
	cmd.Stderr = os.Stderr
	return cmd
}

// startAll starts programs, and reports each that exits.
func (c *cluster) startAll(commands ...*exec.Cmd) error {
	for _, cmd := range commands {
		if err := cmd.Start(); err != nil {
			return err
		}
		c.started = append(c.started, cmd)
		go func() { c.exited <- fmt.Errorf("%v has exited: %w", cmd.Args, cmd.Wait()) }()
	}
	return nil
}

// stop kills all programs. The kernel kills the reaper with the node.
func (c *cluster) stop() {
	for _, cmd := range c.started {
		_ = cmd.Process.Kill() // it may have exited
	}
}
