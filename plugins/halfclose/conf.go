// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// conf is what the verbs themselves need of a network configuration (CNI spec, "Execution Protocol"). What a
// policy is made of, policy.ParseNetwork reads from the same bytes.
type conf struct {
	CNIVersion       string
	Name             string
	RuntimeConfig    json.RawMessage
	PrevResult       json.RawMessage
	ValidAttachments json.RawMessage
}

// parseConf reads a configuration that skel has found to be a JSON object with a network name. The parts that
// a runtime adds are kept raw: each is read where it is needed, so that no other verb trips over it.
//
// Keys are taken as they are written. For the fields of a struct encoding/json takes them in any case, and the
// last of several: a key that only looks like that of the valid attachments would decide what GC removes.
func parseConf(stdin []byte) (conf, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(stdin, &all); err != nil {
		return conf{}, err
	}
	c := conf{
		RuntimeConfig: all["runtimeConfig"], PrevResult: all["prevResult"], ValidAttachments: all["cni.dev/valid-attachments"],
	}
	for key, to := range map[string]*string{"cniVersion": &c.CNIVersion, "name": &c.Name} {
		if isNull(all[key]) {
			continue
		}
		if err := json.Unmarshal(all[key], to); err != nil {
			return conf{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return c, nil
}

// isNull reports whether a JSON value is absent or null.
func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// errNoPrevResult: the plugin makes no interface of its own, so that there is nothing it could pass on.
var errNoPrevResult = errors.New("no prevResult: chain halfclose after a main plugin")

// result returns what the plugins before this one in the chain made, in the version of the configuration.
func (c conf) result() (types.Result, error) {
	if isNull(c.PrevResult) {
		return nil, errNoPrevResult
	}
	p := types.PluginConf{CNIVersion: c.CNIVersion}
	if err := json.Unmarshal(c.PrevResult, &p.RawPrevResult); err != nil {
		return nil, err
	}
	if err := version.ParsePrevResult(&p); err != nil {
		return nil, err
	}
	return p.PrevResult.GetAsVersion(c.CNIVersion)
}

// annotations are what a runtime passes of a pod's annotations.
type annotations struct {
	found  map[string]string
	atHand bool // the runtime passed some, perhaps none of ours
	// warnings are what is wrong with their shape, where that could have been meant for us.
	warnings []string
}

// annotations returns the annotations of the pod. Null, which containerd writes for a pod without annotations, is none and
// no mistake. What is of a wrong type is left out, and warned of if it may be one of ours.
func (c conf) annotations() annotations {
	if isNull(c.RuntimeConfig) {
		return annotations{}
	}
	var runtime map[string]json.RawMessage
	if err := json.Unmarshal(c.RuntimeConfig, &runtime); err != nil {
		return annotations{warnings: []string{"runtimeConfig is not an object: the pod's annotations are unknown, and it is only observed"}}
	}
	raw := runtime[policy.CapabilityPodAnnotations]
	if isNull(raw) {
		return annotations{}
	}
	if raw[0] != '{' {
		return annotations{warnings: []string{fmt.Sprintf(
			"runtimeConfig[%q] is not an object: the pod's annotations are unknown, and it is only observed", policy.CapabilityPodAnnotations)}}
	}
	a := annotations{found: make(map[string]string), atHand: true}
	more := 0
	for key, value := range members(raw) {
		name := unquoted(key)
		switch {
		case !strings.HasPrefix(name, policy.AnnotationPrefix):
		case value[0] == '"':
			a.found[name] = unquoted(value)
		case len(a.warnings) < maxTypeWarnings-1:
			a.warnings = append(a.warnings, fmt.Sprintf("annotation %.80q is not a string (the pod is only observed)", name))
		default:
			more++
		}
	}
	if more > 0 {
		a.warnings = append(a.warnings, fmt.Sprintf("and %d more annotations that are not strings", more))
	}
	return a
}

// maxTypeWarnings bounds what a pod can make the record say: there are fewer annotations of ours.
const maxTypeWarnings = 16

// validAttachments returns the attachments that GC is to keep, and whether there is such a list: an absent or
// null one is none. Of a list with anything wrong in it nothing is returned but the error.
func (c conf) validAttachments() (keep []state.Attachment, listed bool, err error) {
	if isNull(c.ValidAttachments) {
		return nil, false, nil
	}
	var list []*types.GCAttachment
	if err := json.Unmarshal(c.ValidAttachments, &list); err != nil {
		return nil, false, fmt.Errorf("read cni.dev/valid-attachments: %w", err)
	}
	for i, a := range list {
		if a == nil || a.ContainerID == "" || a.IfName == "" {
			return nil, false, fmt.Errorf("read cni.dev/valid-attachments: entry %d has no containerID or no ifname", i)
		}
		keep = append(keep, state.Attachment{ContainerID: a.ContainerID, IfName: a.IfName})
	}
	return keep, true, nil
}
