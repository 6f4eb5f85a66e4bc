// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import "strings"

// Pod is the Kubernetes pod that a container belongs to. It is zero outside of Kubernetes.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String returns namespace/name, or "" for the zero Pod.
func (p Pod) String() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// maxPodNameBytes bounds a pod's name, namespace and UID in a record. Kubernetes allows 253 bytes.
const maxPodNameBytes = 253

// ParsePod returns the pod that CNI_ARGS names: "K=V;K=V" in any order (CNI spec, "Parameters"). It ignores other keys,
// which are for other plugins, and malformed pairs.
func ParsePod(args string) Pod {
	var pod Pod
	for pair := range strings.SplitSeq(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		pod.SetArg(key, value)
	}
	return pod
}

// SetArg sets the field that a key of CNI_ARGS stands for, and ignores other keys. It cuts a value that is too long.
func (p *Pod) SetArg(key, value string) {
	if len(value) > maxPodNameBytes {
		value = strings.ToValidUTF8(value[:maxPodNameBytes], "")
	}
	switch key {
	case "K8S_POD_NAMESPACE":
		p.Namespace = value
	case "K8S_POD_NAME":
		p.Name = value
	case "K8S_POD_UID":
		p.UID = value
	}
}
