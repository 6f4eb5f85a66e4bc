// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAPodQueryCoversByNameNamespaceOrContainerID(t *testing.T) {
	web, container := state.Pod{Namespace: "shop", Name: "web-1"}, "0123456789abcdef"
	for _, tt := range []struct {
		name      string
		query     api.PodQuery
		pod       state.Pod
		container string
		want      bool
	}{
		{"an empty query covers all", api.PodQuery{}, web, container, true},
		{"a name", api.PodQuery{Pod: "web-1"}, web, container, true},
		{"a namespace and a name", api.PodQuery{Pod: "shop/web-1"}, web, container, true},
		{"a container ID", api.PodQuery{Pod: container}, web, container, true},
		{"a prefix of a container ID", api.PodQuery{Pod: "0123"}, web, container, true},
		{"no part of its middle", api.PodQuery{Pod: "123"}, web, container, false},
		{"no prefix of a name", api.PodQuery{Pod: "web"}, web, container, false},
		{"no namespace as a pod", api.PodQuery{Pod: "shop"}, web, container, false},
		{"no pod of another namespace", api.PodQuery{Pod: "prod/web-1"}, web, container, false},
		{"a namespace", api.PodQuery{Namespace: "shop"}, web, container, true},
		{"no other namespace", api.PodQuery{Namespace: "prod"}, web, container, false},
		{"a pod only in the namespace", api.PodQuery{Namespace: "prod", Pod: "web-1"}, web, container, false},
		{"the name of a registration", api.PodQuery{Pod: "shop"}, state.Pod{}, "shop", true},
		{"no prefix of such a name", api.PodQuery{Pod: "sho"}, state.Pod{}, "shop", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.query.Covers(tt.pod, tt.container); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
