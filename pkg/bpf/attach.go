// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What follows is three calls of bpf(2). The library has them in its package link, which looks for all ways to trace
// before main runs: each CNI ADD would pay for that.

// attachTracepoint has a tp_btf program called until the file is closed.
func attachTracepoint(p *ebpf.Program) (*os.File, error) {
	return bpf(unix.BPF_RAW_TRACEPOINT_OPEN, &struct {
		name uint64 // none: the program says which
		prog uint32
		_    uint32
	}{prog: uint32(p.FD())})
}

// attachIterator makes an iterator's program startable until the file is closed.
func attachIterator(p *ebpf.Program) (*os.File, error) {
	return bpf(unix.BPF_LINK_CREATE, &struct{ prog, target, attachType, flags uint32 }{
		prog: uint32(p.FD()), attachType: unix.BPF_TRACE_ITER,
	})
}

// startIterator begins a run, which goes on as the file is read.
func startIterator(iterator *os.File) (*os.File, error) {
	defer runtime.KeepAlive(iterator)
	return bpf(unix.BPF_ITER_CREATE, &struct{ link, flags uint32 }{link: uint32(iterator.Fd())})
}

// bpf calls bpf(2) with a part of union bpf_attr (include/uapi/linux/bpf.h), for commands that make a descriptor.
func bpf[T any](command uintptr, attr *T) (*os.File, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return nil, fmt.Errorf("bpf(2) command %d: %w", command, errno)
	}
	return os.NewFile(fd, "bpf"), nil
}
