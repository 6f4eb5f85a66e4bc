// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// CapabilityPodAnnotations is the capability by which a runtime hands a pod's annotations to a plugin:
// containerd's and CRI-O's name for it.
const CapabilityPodAnnotations = "io.kubernetes.cri.pod-annotations"

// Network is what one plugin object of a conflist says.
type Network struct {
	Layer         Layer // what it says of the policy
	PodOverrides  PodOverrides
	FailurePolicy FailurePolicy
	Reaper        ReaperStart
	// PodAnnotations is whether the object declares CapabilityPodAnnotations, without which no runtime
	// passes annotations on.
	PodAnnotations bool
}

// The keys of a conflist's object that no field of Policy has.
const (
	keyPodOverrides  = "podOverrides"
	keyFailurePolicy = "failurePolicy"
	keyReaper        = "reaper"
	keyCapabilities  = "capabilities"
)

// notOurs returns the keys of a plugin's object that the CNI specification or a runtime owns
// (CNI SPEC 1.1.0, sections 1 and 3). Keys that begin with "cni.dev/" are theirs too.
func notOurs() []string {
	return []string{
		"cniVersion", "name", "type", keyCapabilities, "runtimeConfig", "args", "prevResult", "dns", "ipam", "ipMasq",
	}
}

// isComment reports whether a key is by convention of no program: the way to write a comment in JSON.
func isComment(key string) bool { return strings.HasPrefix(key, "_") }

// ParseNetwork reads the plugin's object of a conflist, as it stands there or as a runtime hands it to a
// plugin. It never fails: a value that has a problem is left out, and every problem is returned, up to a number that
// a record can hold. What is not a JSON object at all is one problem, and the layer is empty.
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
	ours, theirs := slices.Sorted(maps.Keys(keys)), notOurs()
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

// Layers returns the layers of an attachment to the network. The annotations are the ones that the runtime passed,
// nil if it passed none.
func (n Network) Layers(annotations map[string]string) Layers {
	return Layers{Network: n.Layer, Annotations: ReservedAnnotations(annotations), PodOverrides: n.PodOverrides}
}

// declares reports whether the object's capabilities hold the one named. What else they hold, in whatever
// shape, is the runtime's business.
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

// unknown reports a key that does not exist, with the one of near that was probably meant or else all that
// there are.
func (c *collector) unknown(path, key string, near, all []string) {
	if name, ok := c.nearest(key, near); ok {
		c.addf(path, "unknown key, did you mean %q?", name)
		return
	}
	c.addf(path, "unknown key: there are %s", strings.Join(all, ", "))
}
