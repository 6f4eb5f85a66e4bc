// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// host records whether the host already has each object that the demo creates on its node.
type host map[string]bool

// readHost reads the host's state.
func readHost() host {
	h := make(host)
	paths := []string{"/run/halfclose", "/var/lib/halfclose", "/run/cni", "/var/lib/cni/networks/pods"}
	for _, name := range []string{"client", "server", "app", "web"} {
		paths = append(paths, "/run/netns/"+name, "/var/lib/cni/results/pods-demo-"+name+"-eth0")
	}
	for _, path := range paths {
		_, err := os.Lstat(path)
		h[path] = err == nil
	}
	_, err := netlink.LinkByName(bridge)
	h["link "+bridge] = err == nil
	return h
}

// unchanged returns an error if something was created or removed.
func (h host) unchanged(now host) error {
	for name, was := range h {
		if now[name] != was {
			return fmt.Errorf("CHECK FAILED: %s: existed before: %v, exists now: %v", name, was, now[name])
		}
	}
	return nil
}
