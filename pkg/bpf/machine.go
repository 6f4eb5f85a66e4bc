// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	kernelTypes  = "/sys/kernel/btf/vmlinux"
	lockdownFile = "/sys/kernel/security/lockdown"
)

// The first namespaces of a machine, as /proc shows them (include/linux/proc_ns.h).
const (
	firstPIDNamespace  = "pid:[4026531836]"
	firstUserNamespace = "user:[4026531837]"
)

// SeesAllProcesses reports whether a walk sees all processes of the machine, as it does in the first pid namespace
// only. In a container's it sees those of the container.
func SeesAllProcesses() bool { return leads("/proc/self/ns/pid", firstPIDNamespace) }

func leads(link, to string) bool {
	got, err := os.Readlink(link)
	return err == nil && got == to
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockedDown reports whether the kernel keeps its memory from root too.
func lockedDown() bool {
	now, err := os.ReadFile(lockdownFile)
	return err == nil && bytes.Contains(now, []byte("[confidentiality]"))
}

// missingCapabilities names what loading takes and this thread does not have, "" if nothing.
func missingCapabilities() string {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return ""
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	var missing []string
	if !has(unix.CAP_SYS_ADMIN) && !has(unix.CAP_BPF) {
		missing = append(missing, "CAP_BPF")
	}
	if !has(unix.CAP_SYS_ADMIN) && !has(unix.CAP_PERFMON) {
		missing = append(missing, "CAP_PERFMON")
	}
	if len(missing) == 0 && !leads("/proc/self/ns/user", firstUserNamespace) {
		return "CAP_BPF and CAP_PERFMON in the first user namespace, not in a container's own"
	}
	return strings.Join(missing, " and ")
}

// release is the kernel's version as uname(1) prints it.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// olderThan reports whether the kernel's version is below major.minor.
func olderThan(major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release(), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
