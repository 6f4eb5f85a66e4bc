// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package apitest

import (
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Leaks returns groups of different shapes.
func Leaks() api.LeakList {
	growth, still := 13.6, 0.0
	java := owners.Process{PID: 812, Command: "java"}
	web := state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"}
	return api.LeakList{
		Groups: []api.LeakGroup{
			{
				Pod: web, ContainerID: "c1", Netns: "/run/netns/a", Owners: []owners.Process{java}, OwnerCount: 1, State: inetdiag.CloseWait, Role: policy.RoleClient,
				Peer: "10.244.3.104:5432", Sockets: 310, Verdicts: map[string]int{"peer-alive": 300, "unread-data": 10}, Oldest: api.Seconds(26 * time.Hour),
				Newest: api.Seconds(time.Minute), Growth: &growth, Unread: 310, Held: 48, Ended: 50,
			},
			{
				Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Netns: "/run/netns/b", State: inetdiag.FinWait2, Local: "10.0.0.2:8080", Sockets: 2, OwnerCount: 3,
				Owners:   []owners.Process{{PID: 7, Command: "nginx"}, {PID: 8, Command: Hostile}, {PID: 9, Command: "nginx"}},
				Verdicts: map[string]int{"would-destroy": 2}, Oldest: api.Seconds(3 * time.Minute), Newest: api.Seconds(2 * time.Minute), Growth: &still,
			},
			{ContainerID: "0123456789abcdef0123", State: inetdiag.CloseWait, Role: policy.RoleServer, Local: "[fd00::2]:443", Sockets: 1, Verdicts: map[string]int{"within-grace": 1}},
		},
		Sockets: 320, Omitted: 4, Young: 3, Problems: []string{},
		Holders:   []api.DescriptorHolder{{Process: java, Pod: web, Held: 48, Ended: 50, Since: Then()}},
		NearLimit: []api.FileUse{{Process: java, Pod: web, Open: 1000, Limit: 1024}},
	}
}
