// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"os"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
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

// ownClass returns the net_cls class of this process's sockets, false if no socket has a class.
func ownClass() (class uint32, has bool, err error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !namesNetCls(string(b)) {
		return 0, false, nil // no cgroups, or the net_cls controller is not mounted
	}
	class, err = inetdiag.OwnClassID()
	return class, true, err
}
