// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// PodAnnotations are the annotations of a pod that begin with AnnotationPrefix, as a runtime passes them to a plugin.
type PodAnnotations struct {
	Found    map[string]string
	Passed   bool     // the runtime passed the pod's annotations, perhaps without any of ours
	Warnings []string // about values of a wrong type
}

// ReadPodAnnotations reads the annotations from the values of capabilities, such as the runtimeConfig of a call; name is
// shown in warnings. Null, which containerd passes for a pod without annotations, is no mistake. Values of a wrong type are
// left out.
func ReadPodAnnotations(capabilities json.RawMessage, name string) PodAnnotations {
	if isNull(capabilities) {
		return PodAnnotations{}
	}
	var runtime map[string]json.RawMessage
	if err := json.Unmarshal(capabilities, &runtime); err != nil {
		return PodAnnotations{Warnings: []string{name + " is not an object: the pod's annotations are unknown (the pod is only observed)"}}
	}
	raw := runtime[CapabilityPodAnnotations]
	if isNull(raw) {
		return PodAnnotations{}
	}
	if raw[0] != '{' {
		return PodAnnotations{Warnings: []string{fmt.Sprintf(
			"%s[%q] is not an object: the pod's annotations are unknown (the pod is only observed)", name, CapabilityPodAnnotations)}}
	}
	a := PodAnnotations{Found: make(map[string]string), Passed: true}
	more := 0
	for key, value := range members(raw) {
		name := unquoted(key)
		switch {
		case !strings.HasPrefix(name, AnnotationPrefix):
		case value[0] == '"':
			a.Found[name] = unquoted(value)
		case len(a.Warnings) < maxTypeWarnings-1:
			a.Warnings = append(a.Warnings, fmt.Sprintf("annotation %.80q is not a string (the pod is only observed)", name))
		default:
			more++
		}
	}
	if more > 0 {
		a.Warnings = append(a.Warnings, fmt.Sprintf("and %d more annotations that are not strings", more))
	}
	return a
}

// maxTypeWarnings bounds the warnings that a pod can put into its record. There are fewer annotations of ours.
const maxTypeWarnings = 16

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// Attach returns the layers of an attachment to the network, and the warnings for its record. problems are those of
// ParseNetwork. An attachment with mistakes is at most observed: they may have been meant to be more conservative.
func (n Network) Attach(problems Problems, pod PodAnnotations) (l Layers, warnings []string) {
	l = n.Layers(pod.Found)
	warnings = problems.Strings()
	if len(problems) > 0 {
		l.Observe = SourceWrongConf
	}
	if n.PodOverrides == OverridesNone {
		warnings = append(warnings, l.Resolve(0).Problems...) // that they are ignored
		l.Annotations = nil
		return l, warnings
	}
	warnings = append(warnings, pod.Warnings...)
	if len(pod.Warnings) > 0 {
		l.Observe = cmp.Or(l.Observe, SourceWrongAnnotation)
	}
	return l, append(warnings, l.Resolve(0).Problems...)
}
