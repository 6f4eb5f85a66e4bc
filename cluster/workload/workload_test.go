// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/cluster/workload"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAWorkloadIsNamedByItsPods(t *testing.T) {
	for pod, want := range map[string]string{
		"web-7d4b9c6f5d-x2k8p":       "web",           // a Deployment
		"web-api-5f78c8bdfd-q9z2w":   "web-api",       // its name has a dash
		"db-0":                       "db",            // a StatefulSet
		"db-12":                      "db",            //
		"agent-x2k8p":                "agent",         // a DaemonSet, a ReplicaSet or a Job
		"backup-29012345-x2k8p":      "backup",        // a CronJob
		"web":                        "web",           // a pod without a workload
		"web-canary":                 "web-canary",    //
		"web-2026":                   "web",           // could be a StatefulSet's 2027th pod
		"coredns-787d4945fb-7m5kt":   "coredns",       //
		"gateway-https-x2k8p":        "gateway-https", // the name ends like a hash, but too short
		"kube-proxy-worker-12345678": "kube-proxy-worker-12345678",
		"-x2k8p":                     "-x2k8p",
		"":                           "",
	} {
		if got := workload.Name(pod); got != want {
			t.Errorf("%s: got %s, want %s", pod, got, want)
		}
	}
}

func leak(pod, command string, pid int, local, peer string, sockets int, oldest api.Seconds, growth *float64) *api.LeakGroup {
	g := &api.LeakGroup{
		Pod: state.Pod{Namespace: "shop", Name: pod}, State: inetdiag.CloseWait, Role: policy.RoleClient, Local: local, Peer: peer, Sockets: sockets,
		Verdicts: map[string]int{"peer-alive": sockets}, Oldest: oldest, Newest: oldest / 2, Growth: growth, Held: 3,
		Owners: []owners.Process{{PID: pid, Command: command}}, OwnerCount: 1,
	}
	if local != "" {
		g.Role = policy.RoleServer
	}
	return g
}

func TestALeakOfAWorkloadIsOneLineOverAllNodes(t *testing.T) {
	var l workload.Leaks
	l.Add("node-1", leak("web-7d4b9c6f5d-x2k8p", "java", 7, "", "10.0.0.9:5432", 100, 10, new(1.5)))
	l.Add("node-2", leak("web-7d4b9c6f5d-b4c5d", "java", 9, "", "10.0.0.9:5432", 50, 30, nil))
	l.Add("node-2", leak("web-7d4b9c6f5d-b4c5d", "java", 9, "", "10.0.0.9:6379", 1, 30, nil)) // another peer
	l.Add("node-1", leak("web-7d4b9c6f5d-x2k8p", "envoy", 8, "10.1.0.1:8080", "", 4, 1, nil))
	l.Add("node-2", leak("web-7d4b9c6f5d-b4c5d", "envoy", 8, "10.1.0.2:8080", "", 6, 2, nil)) // another address, the same port
	l.Add("node-2", leak("web-7d4b9c6f5d-b4c5d", "envoy", 8, "[fd00::2]:8080", "", 1, 2, nil))
	type row struct {
		Name, Command, Address string
		Sockets, Held          int
		Oldest                 api.Seconds
		Growth                 string
		Pods, Nodes            []string
	}
	var got []row
	for _, w := range l.List() {
		growth := "-"
		if w.Growth != nil && *w.Growth == 1.5 {
			growth = "1.5"
		}
		got = append(got, row{w.Name(), w.Command, w.Address(), w.Sockets, w.Held, w.Oldest, growth, w.Pods, w.Nodes})
	}
	both, nodes := []string{"shop/web-7d4b9c6f5d-b4c5d", "shop/web-7d4b9c6f5d-x2k8p"}, []string{"node-1", "node-2"}
	want := []row{
		{"shop/web", "java", "peer 10.0.0.9:5432", 150, 6, 30, "1.5", both, nodes},
		{"shop/web", "envoy", "port 8080", 11, 6, 2, "-", both, nodes}, // the process of node-2 counts once
		{"shop/web", "java", "peer 10.0.0.9:6379", 1, 3, 30, "-", both[:1], nodes[1:]},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
