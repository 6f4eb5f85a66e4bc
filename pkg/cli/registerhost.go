// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// hostNetns is the path of the host's own network namespace, hostName the name of its registration. Process 1 lives as
// long as the namespace.
const (
	hostNetns = "/proc/1/ns/net"
	hostName  = "host"
)

// noNetns checks that register --host has no argument.
func noNetns(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("--host is the host's own namespace: want no NETNS beside it, not %q", args[0])
	}
	return nil
}

// allowHostFlag is the reaper's flag for records of the host's own network namespace.
const allowHostFlag = "allow-host-netns"

// checkHostAllowed returns an error if a reaper runs that refuses the host's own network namespace.
func (e *env) checkHostAllowed(ctx context.Context) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	cfg, err := client.Config(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		return nil // a note says how to start one
	}
	if err != nil {
		return err
	}
	for _, f := range cfg.Flags {
		if f.Name == allowHostFlag && f.Value != "true" {
			return fmt.Errorf("the running reaper does not act on the host's own network namespace: start it with --%s, or %s=true in its environment", f.Name, f.Variable)
		}
	}
	return nil
}

// noteOtherHost adds a note if process 1 is not the host's, as in a container without the host's PID namespace.
func noteOtherHost(r *registration) {
	if pid := hostfs.NamespaceInode("/proc/1/ns/pid"); pid != 0 && pid != hostfs.InitialPIDNS {
		r.note("process 1 is not the host's here: in a container, use the host's PID namespace (hostPID: true)")
	}
}
