// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// sandboxes is a kubelet's measurement of the creation of pod sandboxes, including CNI ADD.
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

// mean returns the mean time for one.
func (s sandboxes) mean() time.Duration {
	return time.Duration(s.seconds / s.count * float64(time.Second))
}

func (s sandboxes) String() string {
	return fmt.Sprintf("%v for each of %.0f", s.mean().Round(100*time.Microsecond), s.count)
}

// madeOn reads the measurement of a node's kubelet. Its metric kubelet_run_podsandbox_duration_seconds starts earlier than
// the sandbox's creation.
func madeOn(t *testing.T, node string) (s sandboxes) {
	t.Helper()
	const (
		operations = "kubelet_runtime_operations_duration_seconds"
		ofSandbox  = `{operation_type="run_podsandbox"} `
	)
	for line := range strings.Lines(kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/metrics")) {
		line = strings.TrimSuffix(line, "\n")
		for sample, into := range map[string]*float64{"_count": &s.count, "_sum": &s.seconds} {
			value, ok := strings.CutPrefix(line, operations+sample+ofSandbox)
			if !ok {
				continue
			}
			var err error
			if *into, err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return s
}

// batch is the number of pods that start at once. They wait for each other, so times are comparable only between batches of
// one size.
const batch = 20

// churn starts pods on the worker and deletes them, a batch at a time, and returns the measurement of the worker's kubelet
// for that time. It calls during while a batch is running.
func churn(t *testing.T, pods int, during func()) sandboxes {
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
		nstest.Eventually(t, slow, "a batch of pods runs", func() bool {
			ready := kubectl(t, "get", "replicaset", set, "-o", "jsonpath={.status.readyReplicas}")
			return ready == strconv.Itoa(batch)
		})
		if during != nil {
			during()
		}
		kubectl(t, "scale", "replicaset", set, "--replicas", "0")
		nstest.Eventually(t, slow, "a batch of pods is gone", func() bool {
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
