// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
)

// criClient calls a runtime as a kubelet does.
type criClient struct {
	runtime runtimeapi.RuntimeServiceClient
	pods    map[string]*runtimeapi.PodSandboxConfig // by name
}

// connect creates a client of the runtime's socket, and waits until the runtime answers.
func (c *criClient) connect(t *testing.T, socket string) {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c.runtime, c.pods = runtimeapi.NewRuntimeServiceClient(conn), make(map[string]*runtimeapi.PodSandboxConfig)
	c.ready(t)
}

func (c *criClient) ready(t *testing.T) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the runtime answers", func() bool {
		_, err := c.runtime.Version(t.Context(), &runtimeapi.VersionRequest{})
		return err == nil
	})
}

// context returns a context for one call, which is valid even after the test has ended.
func (c *criClient) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), testnode.Patience)
}

func (c *criClient) run(t *testing.T, name string, annotations map[string]string) (*pod, error) {
	t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "e2e", Uid: "uid-" + name},
		Hostname:     name,
		LogDirectory: "/var/lib/e2e/pods/" + name,
		DnsConfig:    &runtimeapi.DNSConfig{},
		Annotations:  annotations,
		Linux:        &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/pods"},
	}
	sandbox, err := c.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, err
	}
	c.pods[name] = config
	p := &pod{name: name, id: sandbox.PodSandboxId}
	p.netns = c.netns(t, p)
	container, err := c.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: config,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "peer"}, LogPath: "peer.log",
			Image: &runtimeapi.ImageSpec{Image: propImage}, Args: []string{"peer"}, Linux: &runtimeapi.LinuxContainerConfig{},
		},
	})
	if err != nil {
		t.Fatalf("create the container of %s: %v", name, err)
	}
	p.owner = container.ContainerId
	if _, err := c.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: p.owner}); err != nil {
		t.Fatalf("start the container of %s: %v", name, err)
	}
	return p, nil
}

// netns is the path of the pod's network namespace, as the runtime gave it to plugins.
func (c *criClient) netns(t *testing.T, p *pod) string {
	t.Helper()
	s, err := c.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	if err := json.Unmarshal([]byte(s.Info["info"]), &info); err != nil {
		t.Fatal(err)
	}
	for _, ns := range info.RuntimeSpec.Linux.Namespaces {
		if ns.Type == "network" {
			return ns.Path
		}
	}
	t.Fatalf("the runtime does not say where the network namespace of %s is: %s", p.name, s.Info["info"])
	return ""
}

// remove stops and removes the pod as a kubelet does.
func (c *criClient) remove(t *testing.T, p *pod) {
	t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if _, err := c.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: p.owner, Timeout: 5}); err != nil {
		t.Errorf("stop the container of %s: %v", p.name, err)
	}
	if _, err := c.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("stop %s: %v", p.name, err)
	}
	if _, err := c.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("remove %s: %v", p.name, err)
	}
}

// networkReady returns the state of the network that the runtime reports, and its loaded configuration.
func (c *criClient) networkReady(t *testing.T) (ready bool, why, loaded string) {
	t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	s, err := c.runtime.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, condition := range s.Status.Conditions {
		if condition.Type == runtimeapi.NetworkReady {
			return condition.Status, condition.Message, s.Info["cniconfig"]
		}
	}
	t.Fatal("the runtime reports no condition of the network")
	return false, "", ""
}

// loaded waits until the configuration in memory has halfclose in it, or has not.
func (c *criClient) loaded(t *testing.T, _ *site, want bool) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, fmt.Sprintf("the runtime has loaded the network, with halfclose in it: %v", want), func() bool {
		_, _, config := c.networkReady(t)
		return strings.Contains(config, `"halfclose"`) == want
	})
}
