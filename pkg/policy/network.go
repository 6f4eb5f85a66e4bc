// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// CapabilityPodAnnotations is the capability with which containerd and CRI-O pass a pod's annotations to a plugin.
const CapabilityPodAnnotations = "io.kubernetes.cri.pod-annotations"

// Network is the configuration in one plugin object of a conflist.
type Network struct {
	Layer         Layer
	PodOverrides  PodOverrides
	FailurePolicy FailurePolicy
	Reaper        ReaperStart
	// PodAnnotations is set if the object declares CapabilityPodAnnotations. Otherwise no runtime passes annotations.
	PodAnnotations bool
}

// The keys of a conflist's object that are not part of a policy.
const (
	keyPodOverrides  = "podOverrides"
	keyFailurePolicy = "failurePolicy"
	keyReaper        = "reaper"
	keyCapabilities  = "capabilities"
)

// foreignKeys returns the keys of a plugin's object that belong to the CNI specification or to a runtime (CNI SPEC 1.1.0,
// sections 1 and 3). Keys that begin with "cni.dev/" do too.
func foreignKeys() []string {
	return []string{
		"cniVersion", "name", "type", keyCapabilities, "runtimeConfig", "args", "prevResult", "dns", "ipam", "ipMasq",
	}
}

// isComment reports whether programs ignore a key by convention: the way to write a comment in JSON.
func isComment(key string) bool { return strings.HasPrefix(key, "_") }

// ParseNetwork reads the plugin's object of a conflist, from the file or as a runtime passes it to a plugin. It never fails:
// it leaves out values with a problem, and returns all problems, up to the number that a record can hold. Input that is not
// a JSON object is one problem, and the layer is empty.
func ParseNetwork(conf []byte) (Network, Problems) {
	n := Network{Layer: Layer{Source: SourceNetwork}}
	c := collector{most: maxProblems}
	if err := json.Unmarshal(conf, new(json.RawMessage)); err != nil {
		c.addf("$", "not JSON: %s", err)
		return n, c.problems
	}
	obj, ok := c.object("$", conf)
	if !ok {
		return n, c.problems
	}
	keys := n.Layer.readers(&c)
	keys[keyPodOverrides] = func(path string, raw json.RawMessage) { readWord(&c, path, raw, overrideWords, &n.PodOverrides) }
	keys[keyFailurePolicy] = func(path string, raw json.RawMessage) { readWord(&c, path, raw, failureWords, &n.FailurePolicy) }
	keys[keyReaper] = func(path string, raw json.RawMessage) { readWord(&c, path, raw, startWords, &n.Reaper) }
	ours, theirs := slices.Sorted(maps.Keys(keys)), foreignKeys()
	c.each("$", obj, keys, func(path string, f field) {
		if slices.Contains(theirs, f.key) || strings.HasPrefix(f.key, "cni.dev/") || isComment(f.key) {
			return
		}
		c.unknown(path, f.key, slices.Concat(ours, theirs), ours)
	})
	n.Layer.check(&c, "$")
	n.PodAnnotations = declares(obj, CapabilityPodAnnotations)
	return n, c.bounded()
}

// Layers returns the layers of an attachment to the network. The annotations are the runtime's, nil if it passed
// none.
func (n Network) Layers(annotations map[string]string) Layers {
	return Layers{Network: n.Layer, Annotations: ReservedAnnotations(annotations), PodOverrides: n.PodOverrides}
}

// declares reports whether the object declares a capability. It ignores the other capabilities, in whatever form.
func declares(obj object, capability string) bool {
	for _, f := range obj {
		if f.key != keyCapabilities {
			continue
		}
		var capabilities map[string]json.RawMessage
		if json.Unmarshal(f.raw, &capabilities) != nil {
			return false
		}
		return string(capabilities[capability]) == "true"
	}
	return false
}

// unknown reports an unknown key, with the name of near that it probably misspells, or else with all names.
func (c *collector) unknown(path, key string, near, all []string) {
	if name, ok := c.nearest(key, near); ok {
		c.addf(path, "unknown key, did you mean %q?", name)
		return
	}
	c.addf(path, "unknown key: want one of %s", strings.Join(all, ", "))
}
