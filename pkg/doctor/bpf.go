// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	halfclosed "github.com/halfclose/halfclose/pkg/bpf"
)

// bpf is whether BPF programs could be used.
type bpf struct {
	btf      error  // of looking for the kernel's types
	load     error  // of loading the bpf finder's programs
	lockdown string // as in kernel_lockdown(7): none, integrity, confidentiality; "" if unknown
}

func inspectBPF() bpf {
	_, btf := os.Stat("/sys/kernel/btf/vmlinux")
	b := bpf{btf: btf, load: loadPrograms()}
	if text, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		b.lockdown = parseLockdown(string(text))
	}
	return b
}

// parseLockdown takes the word in brackets from "none [integrity] confidentiality".
func parseLockdown(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// loadPrograms loads the bpf finder's programs, and lets go of them at once. They watch nothing meanwhile.
func loadPrograms() error {
	p, err := halfclosed.Load(halfclosed.Options{MaxSockets: 1, MaxNamespaces: 1})
	if err != nil {
		return err
	}
	return p.Close()
}

// costsMore says what to do about what only the bpf finder needs.
const costsMore = "nothing, if it may cost more: the sockdiag finder finds the same"

func judgeBPF(b bpf, p process) []Finding {
	types := Finding{Check: "btf", What: "the kernel describes its types (/sys/kernel/btf/vmlinux)"}
	if b.btf != nil {
		types.Level, types.Do = Info, costsMore
		types.What = fmt.Sprintf("the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF): %v", b.btf)
	}
	programs := Finding{Check: "bpf", What: "the bpf finder's programs can be loaded"}
	if b.load != nil {
		programs.Level, programs.Do = Info, costsMore
		programs.What = fmt.Sprintf("the bpf finder's programs cannot be loaded: %s (%v)", bpfReason(b, p), b.load)
	}
	return []Finding{types, programs}
}

// bpfReason says why a program could not be loaded.
func bpfReason(b bpf, p process) string {
	missing := p.effective.lacks(capBPF, perfmon)
	switch {
	case errors.Is(b.load, unix.ENOSYS):
		return "the kernel was built without CONFIG_BPF_SYSCALL"
	case errors.Is(b.load, unix.EINVAL):
		return "the kernel does not know programs of this type"
	case !errors.Is(b.load, unix.EPERM):
		return "the kernel refuses"
	case p.userNS == elsewhere:
		return "that takes capabilities in the host's user namespace"
	case len(missing) > 0 && !p.effective.has(sysAdmin):
		return areNames(missing) + " missing here"
	case b.lockdown == "confidentiality":
		return "lockdown is confidentiality, and they read the kernel's memory"
	case p.seccomp != 0:
		return "the seccomp filter refuses it"
	}
	return "a security module or lockdown refuses it"
}
