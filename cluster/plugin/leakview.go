// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/halfclose/halfclose/cluster/workload"
	"github.com/halfclose/halfclose/pkg/api"
)

// leakList decodes the values beside the groups.
func leakList(l list[api.LeakGroup]) (all api.LeakList, err error) {
	for _, i := range l.items {
		all.Groups = append(all.Groups, i.value)
	}
	for key, to := range map[string]any{"holders": &all.Holders, "nearLimit": &all.NearLimit} {
		if raw := l.rest[key]; raw != nil && err == nil {
			err = json.Unmarshal(raw, to)
		}
	}
	return all, err
}

// sortLeaks sorts leaks of nodes, the largest first.
func sortLeaks(groups []nodeItem[api.LeakGroup]) {
	slices.SortStableFunc(groups, func(a, b nodeItem[api.LeakGroup]) int {
		return cmp.Or(cmp.Compare(b.value.Sockets, a.value.Sockets), cmp.Compare(b.value.Oldest, a.value.Oldest), cmp.Compare(a.node, b.node))
	})
}

// leaksOutput is the object of kubectl halfclose leaks. It has one of the lists.
type leaksOutput struct {
	Workloads []workload.Leak           `json:"workloads,omitempty"`
	Groups    []nodeItem[api.LeakGroup] `json:"groups,omitempty"` // with --per-pod
	Omitted   int                       `json:"omitted"`          // by --limit
	Young     int                       `json:"young"`            // sockets that are not leaks yet
	Nodes     []nodeView                `json:"nodes"`
}

func leaksView(perPod bool, groups []nodeItem[api.LeakGroup], workloads []workload.Leak, omitted, young int, nodes []nodeView) any {
	out := leaksOutput{Omitted: omitted, Young: young, Nodes: nodes}
	if perPod {
		out.Groups = groups
	} else {
		out.Workloads = workloads
	}
	return out
}
