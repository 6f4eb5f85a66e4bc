// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

const (
	kernelTypes  = "/sys/kernel/btf/vmlinux"
	lockdownFile = "/sys/kernel/security/lockdown"
)

// SeesAllProcesses reports whether a walk sees all processes of the machine, as it does in the first pid namespace
// only. In a container's it sees those of the container.
func SeesAllProcesses() bool {
	return hostfs.NamespaceInode("/proc/self/ns/pid") == hostfs.InitialPIDNS
}

// machine is what loading the programs depends on.
type machine struct {
	release  string   // of the kernel, as uname(1) prints it
	types    bool     // the kernel tells its types
	lockdown bool     // the kernel keeps its memory from root too
	missing  []string // capabilities that this thread does not have
	nested   bool     // not in the machine's first user namespace
}

// thisMachine looks at what there is. What cannot be seen is taken for as it should be.
func thisMachine() machine {
	var m machine
	_, err := os.Stat(kernelTypes)
	m.types = err == nil
	if now, err := os.ReadFile(lockdownFile); err == nil {
		m.lockdown = bytes.Contains(now, []byte("[confidentiality]"))
	}
	m.nested = hostfs.NamespaceInode("/proc/self/ns/user") != hostfs.InitialUserNS
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.release = unix.ByteSliceToString(u.Release[:])
	}
	m.missing = missingCapabilities()
	return m
}

// missingCapabilities names those that loading takes and this thread does not have.
func missingCapabilities() (missing []string) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return nil
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	if !has(unix.CAP_BPF) {
		missing = append(missing, "CAP_BPF")
	}
	if !has(unix.CAP_PERFMON) {
		missing = append(missing, "CAP_PERFMON")
	}
	return missing
}

// olderThan reports whether the kernel's version is below major.minor.
func (m machine) olderThan(major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(m.release, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
