// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// host is which of the things that the demo makes on its node are on the host.
type host map[string]bool

// lookAtHost looks for them.
func lookAtHost() host {
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

// unchanged returns an error if anything has come or gone.
func (h host) unchanged(now host) error {
	for name, was := range h {
		if now[name] != was {
			return fmt.Errorf("NOT AS TOLD: %s: there before: %v, now: %v", name, was, now[name])
		}
	}
	return nil
}
