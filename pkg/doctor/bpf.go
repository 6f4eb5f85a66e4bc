// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpf is whether BPF programs could be used.
type bpf struct {
	btf      error  // of looking for the kernel's types
	load     error  // of loading a program
	lockdown string // as in kernel_lockdown(7): none, integrity, confidentiality; "" if unknown
}

func lookAtBPF() bpf {
	_, btf := os.Stat("/sys/kernel/btf/vmlinux")
	b := bpf{btf: btf, load: loadProgram()}
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

// progLoad is the beginning of union bpf_attr for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
type progLoad struct {
	progType    uint32
	insnCount   uint32
	insns       uint64
	license     uint64
	logLevel    uint32
	logSize     uint32
	logBuf      uint64
	kernVersion uint32
	flags       uint32
}

// loadProgram loads a tracing program that does nothing, and attaches it to nothing: it goes with its
// descriptor, at once. Tracing takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.
func loadProgram() error {
	insns := []uint64{0xb7, 0x95} // r0 = 0; exit (BPF_ALU64|BPF_MOV|BPF_K and BPF_JMP|BPF_EXIT)
	license := []byte("Apache-2.0\x00")
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&insns[0])
	pin.Pin(&license[0])
	attr := progLoad{
		progType: unix.BPF_PROG_TYPE_RAW_TRACEPOINT, insnCount: uint32(len(insns)),
		insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

// unused is true of both: they are told so that it is known what a later finder could use.
const unused = "nothing: no finder of this version uses it"

func judgeBPF(b bpf, p process) []Finding {
	types := Finding{Check: "btf", What: "the kernel describes its types (/sys/kernel/btf/vmlinux)"}
	if b.btf != nil {
		types.Level, types.Do = Info, unused
		types.What = fmt.Sprintf("the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF): %v", b.btf)
	}
	programs := Finding{Check: "bpf", What: "BPF programs can be loaded"}
	if b.lockdown == "confidentiality" && b.load == nil {
		programs.Level, programs.Do = Info, unused
		programs.What = "BPF programs can be loaded, but not read the kernel's memory: lockdown is confidentiality"
	}
	if b.load != nil {
		programs.Level, programs.Do = Info, unused
		programs.What = fmt.Sprintf("BPF programs cannot be loaded: %s (%v)", bpfReason(b, p), b.load)
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
	case p.seccomp != 0:
		return "the seccomp filter refuses it"
	}
	return "a security module or lockdown refuses it"
}
