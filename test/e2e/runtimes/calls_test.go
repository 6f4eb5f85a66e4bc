// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/e2e/runtimes/record"
)

// callsAreAsDocumented compares the runtime's calls of a chain's plugins with docs/runtimes.md.
func callsAreAsDocumented(t *testing.T, s *site) {
	ask := map[string]string{policy.AnnotationMode: "observe", "example.com/other": strings.Repeat("x", 20_000)}
	p := s.run(t, "called", ask)
	adds := calls(t, p, before, "ADD")
	if len(adds) != 1 {
		t.Fatalf("there were %d ADDs", len(adds))
	}
	add := adds[0]
	if !regexp.MustCompile(s.netns).MatchString(add.Netns) {
		t.Errorf("CNI_NETNS is %s", add.Netns)
	}
	if add.Config.CNIVersion != s.version || add.Config.Name != network {
		t.Errorf("the configuration is of version %s and of the network %s", add.Config.CNIVersion, add.Config.Name)
	}
	if diff := cmp.Diff(s.args, slices.Sorted(maps.Keys(add.Args)), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("keys of CNI_ARGS (-want +got)\n%s", diff)
	}
	got := annotationsOf(t, add)
	for key, value := range ask {
		if there := got[key] == value; there != s.annotations {
			t.Errorf("annotation %s is passed on: %v", key, there)
		}
	}

	s.remove(t, p)
	var dels []del
	for _, c := range calls(t, p, before, "DEL") {
		dels = append(dels, del{netns: c.Netns != "", prevResult: string(c.Config.PrevResult) != "null"})
	}
	if diff := cmp.Diff(s.dels, dels, cmp.AllowUnexported(del{})); diff != "" {
		t.Errorf("DELs (-want +got)\n%s", diff)
	}
	for _, verb := range []string{"CHECK", "GC"} {
		if all := calls(t, nil, before, verb); len(all) > 0 {
			t.Errorf("%s was called %d times without a request", verb, len(all))
		}
	}
}

func annotationsOf(t *testing.T, c record.Call) (found map[string]string) {
	t.Helper()
	if raw, ok := c.Config.RuntimeConfig[policy.CapabilityPodAnnotations]; ok {
		if err := json.Unmarshal(raw, &found); err != nil {
			t.Error(err)
		}
	}
	return found
}

// removedPodLeavesNothing removes pods with a leak, whose namespaces the reaper looks into.
func removedPodLeavesNothing(t *testing.T, s *site) {
	ended, stays := s.run(t, "ended", nil), s.run(t, "stays", nil)
	local := ended.open(t, "line", stays)
	leak := ended.leak(t, "leak", stays)
	s.awaitDestroyed(leak)
	before, veth := s.AwaitStatus().Namespaces, ended.veth(t)
	s.remove(t, ended)

	if s.recorded(ended) {
		t.Error("its record still exists")
	}
	nstest.Eventually(t, testnode.Patience, "the reaper has forgotten its namespace", func() bool { return s.AwaitStatus().Namespaces == before-1 })
	nstest.Eventually(t, testnode.Patience, "the kernel has freed its namespace: its veth is gone from the node", func() bool {
		_, err := netlink.LinkByIndex(veth)
		return err != nil
	})
	addresses, err := filepath.Glob("/var/lib/cni/networks/" + network + "/" + ended.addr)
	if err != nil || len(addresses) > 0 {
		t.Errorf("its address is still taken: %v %v", addresses, err)
	}
	if !s.recorded(stays) {
		t.Error("the record of the other pod is gone too")
	}
	if said := stays.order(t, "recv", "line"); said != "EOF" && said != "ECONNRESET" {
		t.Errorf("the other pod reads %q on the connection from %v", said, local)
	}
}

// veth is the index of the node's end of the pod's interface.
func (p *pod) veth(t *testing.T) (index int) {
	t.Helper()
	err := p.inside(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			index = link.Attrs().ParentIndex
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// failedAddLeavesNothing makes the plugin behind halfclose fail: the runtime must undo the ADDs of the others.
func failedAddLeavesNothing(t *testing.T, s *site) {
	lives := s.run(t, "lives", nil)
	if err := os.WriteFile(record.FailADD, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(record.FailADD)
	p, err := s.runtime.run(t, "fails", nil)
	if err == nil {
		t.Errorf("the pod %s runs although a plugin failed", p.name)
		p.connect(t)
		s.remove(t, p)
	} else if !strings.Contains(err.Error(), "it was configured to fail") {
		t.Errorf("the error is of something else: %v", err)
	}
	listing, err := s.Store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range listing.Records {
		if r.ContainerID != lives.id {
			t.Errorf("there is a record of %s", r.ContainerID)
		}
	}
	if !s.recorded(lives) {
		t.Error("the record of the pod that runs is gone")
	}
	last := calls(t, nil, record.Last, "ADD")
	failed := &pod{id: last[len(last)-1].ContainerID}
	if n := len(calls(t, failed, before, "DEL")); n == 0 {
		t.Error("there was no DEL after the failed ADD")
	}
}
