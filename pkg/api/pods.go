// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/state"
)

// PodQuery selects attachments, and what belongs to them. The zero PodQuery selects all.
type PodQuery struct {
	// Namespace, unless empty, selects the pods of this Kubernetes namespace.
	Namespace string
	// Pod, unless empty, selects a pod by namespace/name or name, a registration by its name, or a container by its ID
	// or a prefix of that.
	Pod string
}

// IsZero reports whether the query selects all.
func (q PodQuery) IsZero() bool { return q == PodQuery{} }

// Covers reports whether the query selects an attachment. A prefix selects only containers of a runtime: the container ID of
// a manual registration is a name, which another name may begin with.
func (q PodQuery) Covers(pod state.Pod, containerID string) bool {
	if q.Namespace != "" && q.Namespace != pod.Namespace {
		return false
	}
	return q.Pod == "" || q.Pod == pod.String() || q.Pod == pod.Name || q.Pod == containerID ||
		state.IsRuntimeID(containerID) && strings.HasPrefix(containerID, q.Pod)
}
