// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
)

// object is a JSON object.
type object map[string]any

// with returns the object with more keys in it; a nil value takes a key out.
func (o object) with(more object) object {
	all := maps.Clone(o)
	for k, v := range more {
		all[k] = v
		if v == nil {
			delete(all, k)
		}
	}
	return all
}

// null is a JSON null: with takes nil for an absent key.
var null = json.RawMessage("null")

func (o object) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// prevResult is a result of a main plugin in the given version.
func prevResult(version string) object {
	ip := object{"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"}
	if version < "1" {
		ip["version"] = "4"
	}
	return object{
		"cniVersion": version,
		"interfaces": []object{
			{"name": "cni0", "mac": "00:11:22:33:44:55"},
			{"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue"},
		},
		"ips":    []object{ip},
		"routes": []object{{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "192.168.0.0/16"}},
		"dns":    object{"nameservers": []string{"10.1.0.1"}, "domain": "example.org"},
	}
}

// chained is a configuration as a runtime passes it to ADD.
func chained(version string) object {
	return object{"cniVersion": version, "name": "blue", "type": "halfclose", "prevResult": prevResult(version)}
}

// annotated is the part of a configuration that carries a pod's annotations.
func annotated(annotations any) object {
	return object{
		"capabilities":  object{policy.CapabilityPodAnnotations: true},
		"runtimeConfig": object{policy.CapabilityPodAnnotations: annotations},
	}
}
