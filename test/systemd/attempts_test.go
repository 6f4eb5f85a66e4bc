// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/bpf"
)

// attempt is an action that a process tries, and its result under the unit's sandbox: "ok" or an errno.
type attempt struct {
	try  func() error
	want string
}

// attemptsFile is the file with the results.
const attemptsFile = runtimeDir + "/attempts"

// attempts lists actions that the sandbox must permit, and others that it must refuse.
func attempts() map[string]attempt {
	return map[string]attempt{
		"enter a network namespace":     {enter("net", unix.CLONE_NEWNET), "ok"},
		"enter a mount namespace":       {enter("mnt", unix.CLONE_NEWNS), "EPERM"},
		"enter a namespace of any type": {enter("net", 0), "EPERM"},
		"make a mount namespace":        {func() error { return unix.Unshare(unix.CLONE_NEWNS) }, "EPERM"},
		"make a process namespace":      {func() error { return unix.Unshare(unix.CLONE_NEWPID) }, "EPERM"},
		"make an IPC namespace":         {func() error { return unix.Unshare(unix.CLONE_NEWIPC) }, "EPERM"},
		"mount":                         {func() error { return unix.Mount("tmpfs", runtimeDir, "tmpfs", 0, "") }, "EPERM"},
		"open a netlink socket":         {socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_INET_DIAG), "ok"},
		"open a TCP socket":             {socket(unix.AF_INET6, unix.SOCK_STREAM, 0), "ok"},
		"open a packet socket":          {socket(unix.AF_PACKET, unix.SOCK_RAW, 0), "EAFNOSUPPORT"},
		"open a raw IP socket":          {socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), "EPERM"},
		"map memory to write and execute": {func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return err
		}, "EPERM"},
		"load a BPF program": {loadProgram, "ok"},
		"watch a hardware counter": {func() error {
			_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER0}, 0, -1, -1, 0)
			return err
		}, "EPERM"},
		"copy another process's descriptor": {copyDescriptor, "ok"},
		"set up io_uring": {func() error {
			var params [120]byte
			_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
			return errno
		}, "EPERM"},
		"trace a process":         {func() error { return unix.PtraceAttach(1 << 30) }, "EPERM"},
		"set the host's name":     {func() error { return unix.Sethostname([]byte("test")) }, "EPERM"},
		"make a device":           {func() error { return unix.Mknod(runtimeDir+"/device", unix.S_IFCHR|0o600, 1<<8|3) }, "EPERM"},
		"give a file away":        {func() error { return unix.Chown(runtimeDir, 1, 1) }, "EPERM"},
		"make a set-user-ID file": {func() error { return setUserID(runtimeDir + "/suid") }, "EPERM"},
		"become more urgent":      {func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }, "EPERM"},
		"signal another process":  {func() error { return unix.Kill(1, 0) }, "EPERM"},
	}
}

// loadProgram loads the bpf finder's programs, and closes them.
func loadProgram() error {
	p, err := bpf.Load(bpf.Options{MaxSockets: 1})
	if err != nil {
		return err
	}
	return p.Close()
}

// copyDescriptor copies a descriptor of the first process, as asking a peer does.
func copyDescriptor() error {
	pidfd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fds, err := os.ReadDir("/proc/1/fd")
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(fds[0].Name())
	if err != nil {
		return err
	}
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// enter enters a namespace of the first process.
func enter(name string, kind int) func() error {
	return func() error {
		fd, err := unix.Open("/proc/1/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Setns(fd, kind)
	}
}

func socket(domain, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

func setUserID(path string) error {
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		return err
	}
	return unix.Chmod(path, unix.S_ISUID|0o700)
}

// makeAttempts makes each attempt on its own thread, and writes the results to a file.
func makeAttempts() error {
	results := make(map[string]string)
	for name, a := range attempts() {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()                              // never unlocked: the thread exits with this goroutine
			if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares these cannot enter a mount namespace
				done <- err
				return
			}
			done <- a.try()
		}()
		results[name] = result(<-done)
	}
	b, err := json.Marshal(results)
	return errors.Join(err, os.WriteFile(attemptsFile, b, 0o600))
}
