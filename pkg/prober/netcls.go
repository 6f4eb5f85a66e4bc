// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"slices"
	"strings"
)

// namesNetCls reports whether /proc/PID/cgroup has a hierarchy with the controller net_cls, as in
// "3:net_cls,net_prio:/". With cgroup v2 alone no socket has a class.
func namesNetCls(cgroup string) bool {
	for line := range strings.Lines(cgroup) {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), "net_cls") {
			return true
		}
	}
	return false
}
