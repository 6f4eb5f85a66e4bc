// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sandboxes is what a node's kubelet has measured of making pods' sandboxes, the CNI chain's ADDs included.
type sandboxes struct {
	count   float64
	seconds float64
}

func (s sandboxes) since(earlier sandboxes) sandboxes {
	return sandboxes{s.count - earlier.count, s.seconds - earlier.seconds}
}

func (s sandboxes) plus(other sandboxes) sandboxes {
	return sandboxes{s.count + other.count, s.seconds + other.seconds}
}

// mean is how long one takes.
func (s sandboxes) mean() time.Duration {
	return time.Duration(s.seconds / s.count * float64(time.Second))
}

func (s sandboxes) String() string {
	return fmt.Sprintf("%v for each of %.0f", s.mean().Round(100*time.Microsecond), s.count)
}

// madeOn asks a node's kubelet.
func madeOn(t *testing.T, node string) (s sandboxes) {
	t.Helper()
	metrics := kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/metrics")
	for lines := bufio.NewScanner(strings.NewReader(metrics)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		sample, _, _ := strings.Cut(key, "{")
		var into *float64
		switch sample {
		case "kubelet_run_podsandbox_duration_seconds_count":
			into = &s.count
		case "kubelet_run_podsandbox_duration_seconds_sum":
			into = &s.seconds
		default:
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		*into += n
	}
	return s
}

// churn starts so many pods on the worker and deletes them again, a batch at a time, and returns what its kubelet
// measured meanwhile. During is called when a batch runs.
func churn(t *testing.T, pods, batch int, during func()) sandboxes {
	t.Helper()
	const set = "churn"
	manifest, err := json.Marshal(object{
		"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": object{"name": set},
		"spec": object{
			"replicas": 0, "selector": object{"matchLabels": object{"app": set}},
			"template": object{
				"metadata": object{"labels": object{"app": set}},
				"spec":     pod{node: worker, args: []string{"pause"}}.spec(),
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, string(manifest))
	before := madeOn(t, worker)
	for started := 0; started < pods; started += batch {
		kubectl(t, "scale", "replicaset", set, "--replicas", strconv.Itoa(batch))
		eventually(t, "a batch of pods runs", func() bool {
			ready := kubectl(t, "get", "replicaset", set, "-o", "jsonpath={.status.readyReplicas}")
			return ready == strconv.Itoa(batch)
		})
		if during != nil {
			during()
		}
		kubectl(t, "scale", "replicaset", set, "--replicas", "0")
		eventually(t, "a batch of pods is gone", func() bool {
			return kubectl(t, "get", "pods", "-l", "app="+set, "-o", "name") == ""
		})
	}
	made := madeOn(t, worker).since(before)
	kubectl(t, "delete", "replicaset", set)
	if made.count < float64(pods) {
		t.Errorf("the kubelet has made %.0f sandboxes for %d pods", made.count, pods)
	}
	return made
}
