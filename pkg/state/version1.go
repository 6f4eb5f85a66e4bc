// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"encoding/json"
	"fmt"

	"github.com/halfclose/halfclose/pkg/policy"
)

// version1 is the format of the records of the single program. The names of their files have no netns, and they have one
// policy instead of its layers.
const version1 = 1

// layersOfVersion1 returns a layer with the policy of a record of version 1. It asks no peer, since version 1 did not. An
// incomplete policy is an error.
func layersOfVersion1(data []byte) (policy.Layers, error) {
	var old struct {
		Policy map[string]json.RawMessage `json:"policy"`
	}
	if err := json.Unmarshal(data, &old); err != nil {
		return policy.Layers{}, err
	}
	const pendingData = "pendingData"
	for _, key := range []string{"mode", "closeWaitGrace", "finWait2Grace", "clock", pendingData} {
		if old.Policy[key] == nil {
			return policy.Layers{}, fmt.Errorf("policy: %s is missing", key)
		}
	}
	pendingGrace := `"never"`
	switch string(old.Policy[pendingData]) {
	case `"keep"`:
	case `"destroy"`:
		pendingGrace = `"1ns"` // the longer of it and the grace applies
	default:
		return policy.Layers{}, fmt.Errorf("policy: %s is %.80q, not keep or destroy", pendingData, old.Policy[pendingData])
	}
	delete(old.Policy, pendingData)
	old.Policy["pendingGrace"], old.Policy["probeAfter"] = json.RawMessage(pendingGrace), json.RawMessage(`"never"`)
	object, err := json.Marshal(old.Policy)
	if err != nil {
		return policy.Layers{}, err
	}
	layer, problems := policy.ParseLayer(object, policy.SourceNetwork)
	if err := problems.Err(); err != nil {
		return policy.Layers{}, fmt.Errorf("policy: %w", err)
	}
	return policy.Layers{Network: layer, PodOverrides: policy.OverridesNone}, nil
}
