// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capability is one of capabilities(7), numbered as in include/uapi/linux/capability.h.
type capability uint

// Those that something here needs.
const (
	netAdmin  capability = unix.CAP_NET_ADMIN
	sysAdmin  capability = unix.CAP_SYS_ADMIN
	sysPtrace capability = unix.CAP_SYS_PTRACE
	dacRead   capability = unix.CAP_DAC_READ_SEARCH
	perfmon   capability = unix.CAP_PERFMON
	capBPF    capability = unix.CAP_BPF
)

// String returns the name without CAP_, as container runtimes write it.
func (c capability) String() string {
	switch c {
	case netAdmin:
		return "NET_ADMIN"
	case sysAdmin:
		return "SYS_ADMIN"
	case sysPtrace:
		return "SYS_PTRACE"
	case dacRead:
		return "DAC_READ_SEARCH"
	case perfmon:
		return "PERFMON"
	case capBPF:
		return "BPF"
	}
	return fmt.Sprintf("capability %d", uint(c))
}

// capabilities is a set of them.
type capabilities uint64

func (s capabilities) has(c capability) bool { return s&(1<<c) != 0 }

// lacks returns those of the list that are not in the set.
func (s capabilities) lacks(list ...capability) []capability {
	var missing []capability
	for _, c := range list {
		if !s.has(c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// parse reads a set as /proc/PID/status has it, in hexadecimal.
func (s *capabilities) parse(text string) error {
	v, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return err
	}
	*s = capabilities(v)
	return nil
}

// join returns the names after each prefix: "CAP_NET_ADMIN, CAP_SYS_ADMIN".
func join(prefix string, list []capability) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = prefix + c.String()
	}
	return strings.Join(names, ", ")
}

// grant says how to get capabilities that are missing.
func grant(p process, missing ...capability) string {
	if p.uid != 0 {
		return "run it as root"
	}
	if outside := p.bounding.lacks(missing...); len(outside) == 0 {
		return fmt.Sprintf("start it with %s (systemd: AmbientCapabilities=; setpriv: --inh-caps and --ambient-caps)", join("CAP_", missing))
	}
	return fmt.Sprintf("let them in from outside, since nothing in here can take them back: securityContext.capabilities.add [%s] in Kubernetes, --cap-add in docker and podman, CapabilityBoundingSet= in a systemd unit",
		join("", missing))
}
