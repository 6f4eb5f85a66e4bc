// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The environment of this program between Start and the program that it executes.
const (
	envCalls   = "_HALFCLOSE_INJECT_CALLS"   // the numbers of the calls to notify of, with commas
	envProgram = "_HALFCLOSE_INJECT_PROGRAM" // the path of the program
)

// Main returns nil at once unless Start has started this process. Otherwise it installs the filter and executes the program,
// and returns only with an error: the process must print it and exit.
func Main() error {
	calls := os.Getenv(envCalls)
	if calls == "" {
		return nil
	}
	return execute(calls, os.Getenv(envProgram))
}

func execute(calls, program string) error {
	numbers, err := parseNumbers(calls)
	if err != nil {
		return err
	}
	if err := errors.Join(os.Unsetenv(envCalls), os.Unsetenv(envProgram)); err != nil {
		return err
	}
	runtime.LockOSThread() // the filter belongs to this thread, and the program inherits it
	if err := install(numbers); err != nil {
		return err
	}
	// The filter holds this call until the supervisor has the listener, which is closed by the call.
	return &os.PathError{Op: "execute", Path: program, Err: syscall.Exec(program, os.Args, os.Environ())}
}

// install installs a filter whose listener becomes a descriptor of this process.
func install(calls []uintptr) error {
	code := filter(calls)
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	set := func(flags uintptr) unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
		return errno
	}
	// Without the second flag (Linux 5.19) a signal of the Go runtime repeats a call, and its notification.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	errno := set(flags)
	if errno == unix.EACCES { // without CAP_SYS_ADMIN
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		errno = set(flags)
	}
	if errno == unix.EINVAL {
		errno = set(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	}
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("install a seccomp filter with a listener: %w", errno)
	}
	return nil
}

// filter returns a program that notifies of the calls and allows all others.
func filter(calls []uintptr) []unix.SockFilter {
	const load, jumpIfEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	const number, architecture = 0, 4 // in struct seccomp_data
	allow, notify := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF}
	code := []unix.SockFilter{{Code: load, K: architecture}, {Code: jumpIfEqual, K: nativeArchitecture(), Jt: 1}, allow, {Code: load, K: number}}
	for _, nr := range calls {
		code = append(code, unix.SockFilter{Code: jumpIfEqual, K: uint32(nr), Jf: 1}, notify)
	}
	return append(code, allow)
}

func nativeArchitecture() uint32 {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}

func formatNumbers(calls []uintptr) string {
	texts := make([]string, 0, len(calls))
	for _, nr := range calls {
		texts = append(texts, strconv.FormatUint(uint64(nr), 10))
	}
	return strings.Join(texts, ",")
}

func parseNumbers(text string) (calls []uintptr, err error) {
	for number := range strings.SplitSeq(text, ",") {
		nr, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("parse the numbers of system calls %q: %w", text, err)
		}
		calls = append(calls, uintptr(nr))
	}
	return calls, nil
}
