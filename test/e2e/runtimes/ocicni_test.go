// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cri-o/ocicni/pkg/ocicni"
	"github.com/sirupsen/logrus"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/test/node"
)

// ocicniCaller calls plugins with CRI-O's driver. It watches the directory of networks, and uses libcni's cache for
// existing pods.
type ocicniCaller struct {
	driver ocicni.CNIPlugin
}

func (o *ocicniCaller) start(t *testing.T) {
	log, err := os.OpenFile(logPath("ocicni.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	logrus.SetOutput(log)
	o.driver, err = ocicni.InitCNI("", confDir, pluginDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.driver.Shutdown(); err != nil {
			t.Error(err)
		}
	})
}

func podNetwork(p *pod, annotations map[string]string) ocicni.PodNetwork {
	n := ocicni.PodNetwork{Name: p.name, Namespace: "e2e", ID: p.id, UID: "uid-" + p.name, NetNS: p.netns}
	if annotations != nil {
		n.RuntimeConfig = map[string]ocicni.RuntimeConfig{network: {PodAnnotations: &annotations}}
	}
	return n
}

func (o *ocicniCaller) add(t *testing.T, p *pod, annotations map[string]string) error {
	t.Helper()
	_, err := o.driver.SetUpPodWithContext(t.Context(), podNetwork(p, annotations))
	return err
}

func (o *ocicniCaller) del(t *testing.T, p *pod) error {
	t.Helper()
	return o.driver.TearDownPodWithContext(context.Background(), podNetwork(p, nil)) // also when the test has ended
}

// check asks for the status of a pod's network, as CRI-O does for its own answer about the pod.
func (o *ocicniCaller) check(t *testing.T, p *pod) error {
	t.Helper()
	_, err := o.driver.GetPodNetworkStatusWithContext(t.Context(), podNetwork(p, nil))
	return err
}

func (o *ocicniCaller) gc(t *testing.T, valid ...*pod) error {
	t.Helper()
	var pods []*ocicni.PodNetwork
	for _, p := range valid {
		n := podNetwork(p, nil)
		pods = append(pods, &n)
	}
	return o.driver.GC(t.Context(), pods)
}

func (o *ocicniCaller) status(t *testing.T) error {
	t.Helper()
	return o.driver.StatusWithContext(t.Context())
}

// loaded attaches a namespace repeatedly until the driver calls halfclose, or no longer calls it: the driver does not
// report which network it has loaded.
func (o *ocicniCaller) loaded(t *testing.T, s *site, want bool) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, fmt.Sprintf("the driver has loaded the network, with halfclose in it: %v", want), func() bool {
		path, err := node.AddNetns("probe")
		if err != nil {
			t.Fatal(err)
		}
		p := &pod{name: "probe", id: "probe", netns: path}
		if err := o.add(t, p, nil); err != nil {
			t.Fatal(err)
		}
		recorded := s.recorded(p)
		if err := errors.Join(o.del(t, p), node.DeleteNetns("probe")); err != nil {
			t.Fatal(err)
		}
		return recorded == want
	})
}
