// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// conf has the parts of a network configuration that the verbs need (CNI spec, "Execution Protocol"), except for the
// policy: policy.ParseNetwork reads that from the same bytes.
type conf struct {
	CNIVersion       string
	Name             string
	RuntimeConfig    json.RawMessage
	PrevResult       json.RawMessage
	ValidAttachments json.RawMessage
}

// parseConf parses a configuration that skel has checked to be a JSON object with a network name. The parts that a runtime
// adds stay raw: a verb that does not need them does not fail because of them.
//
// It parses a map since keys are case-sensitive: encoding/json would match the fields of a struct in any case, and a key
// that only resembles cni.dev/valid-attachments would choose the records that GC removes.
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

// errNoPrevResult is the error of ADD without a prevResult: the plugin creates no interface, so it has no result of its own.
var errNoPrevResult = errors.New("no prevResult: chain halfclose after a main plugin")

// result returns the result of the plugins before this one in the chain, in the version of the configuration.
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

// annotations returns the annotations of the pod.
func (c conf) annotations() policy.PodAnnotations {
	return policy.ReadPodAnnotations(c.RuntimeConfig, "runtimeConfig")
}

// validAttachments returns the attachments that GC keeps, and whether the runtime passed a list: null counts as absent. It
// returns only an error if any entry is invalid.
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
