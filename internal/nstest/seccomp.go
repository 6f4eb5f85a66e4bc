// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Refusal is a system call that a seccomp filter refuses.
type Refusal struct {
	Call  uintptr // as unix.SYS_SETNS
	Errno unix.Errno
	// Arg, unless it is 0, limits the refusal to calls with this first argument.
	Arg uint32
}

// Refuse installs a seccomp filter that refuses these system calls for all threads of this process and its children, for
// good. It is for processes that a test starts, and sets no_new_privs.
func Refuse(list ...Refusal) error {
	const load, jumpIfEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	const number, firstArg = 0, 16 // in struct seccomp_data: the low half of the argument, little-endian
	var code []unix.SockFilter
	for _, r := range list {
		block := []unix.SockFilter{{Code: load, K: number}, {Code: jumpIfEqual, K: uint32(r.Call)}}
		if r.Arg != 0 {
			block = append(block, unix.SockFilter{Code: load, K: firstArg}, unix.SockFilter{Code: jumpIfEqual, K: r.Arg})
		}
		block = append(block, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(r.Errno)})
		for i := range block { // to the next block
			if block[i].Code == jumpIfEqual {
				block[i].Jf = uint8(len(block) - i - 1)
			}
		}
		code = append(code, block...)
	}
	code = append(code, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread() // no_new_privs belongs to the thread until TSYNC sets it for all
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("install a seccomp filter: %w", errno)
	}
	return nil
}
