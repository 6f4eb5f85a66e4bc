// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/moby/sys/capability"

	"github.com/halfclose/halfclose/internal/capabilities"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// lockdownFile has the kernel's lockdown mode in brackets: "none [integrity] confidentiality".
const lockdownFile = "/sys/kernel/security/lockdown"

// machine has the facts on which loading the programs depends.
type machine struct {
	version  uint32   // as LINUX_VERSION_CODE; 0: unknown
	btf      error    // of reading the kernel's BTF
	tracing  error    // of loading an empty program of the type of ours
	lockdown bool     // lockdown=confidentiality
	missing  []string // capabilities
	nested   bool     // not in the initial user namespace
}

// readMachine reads the facts of this machine and the calling thread. A fact that it cannot read counts as no obstacle.
func readMachine() machine {
	var m machine
	m.version, _ = features.LinuxVersionCode()
	_, m.btf = btf.LoadKernelSpec()
	m.tracing = features.HaveProgramType(ebpf.Tracing)
	if mode, err := os.ReadFile(lockdownFile); err == nil {
		m.lockdown = bytes.Contains(mode, []byte("[confidentiality]"))
	}
	ns := hostfs.NamespaceInode("/proc/thread-self/ns/user")
	m.nested = ns != 0 && ns != hostfs.InitialUserNS
	m.missing = missingCapabilities()
	return m
}

// missingCapabilities returns the names of the capabilities that the calling thread lacks. CAP_SYS_ADMIN includes them.
func missingCapabilities() []string {
	if missing, err := capabilities.Missing(capability.CAP_SYS_ADMIN); err != nil || len(missing) == 0 {
		return nil
	}
	missing, _ := capabilities.Missing(capability.CAP_BPF, capability.CAP_PERFMON)
	return capabilities.Names("CAP_", missing...)
}

// release returns the kernel's version, such as 5.10.0.
func (m machine) release() string {
	return fmt.Sprintf("%d.%d.%d", m.version>>16, m.version>>8&0xff, m.version&0xff)
}

// olderThan reports whether the kernel's version is below major.minor; false if it is unknown.
func (m machine) olderThan(major, minor uint32) bool {
	return m.version != 0 && m.version>>8 < major<<8|minor
}
