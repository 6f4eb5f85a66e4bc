// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// envRefuse has the restriction of a prober process: no CAP_SYS_PTRACE, or an errno with which pidfd_getfd fails.
const envRefuse = "_HALFCLOSE_PROBER_REFUSE"

// restrictedMain applies the restriction and executes a prober process.
func restrictedMain() error {
	runtime.LockOSThread() // the restriction applies to this thread, and to the program that it executes
	var err error
	switch os.Getenv(envRefuse) {
	case "CAP_SYS_PTRACE":
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_PTRACE, 0, 0, 0)
	case "EPERM":
		err = refuseGetfd(unix.EPERM)
	case "ENOSYS":
		err = refuseGetfd(unix.ENOSYS)
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(envRole, "prober"); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

// refuseGetfd makes the kernel refuse pidfd_getfd for the thread.
func refuseGetfd(errno unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_PIDFD_GETFD},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if failed != 0 {
		return failed
	}
	return nil
}

func TestRefusedSystemCallIsTheObstacle(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	j := s.shutPeer("owner")
	j.idle(inetdiag.CloseWait)
	for name, x := range map[string]struct {
		refuse   string
		numbered bool
		want     string
	}{
		"nothing":                      {"", false, "alive"},
		"no capability, to list":       {"CAP_SYS_PTRACE", false, "not-asked no-ptrace EACCES"},
		"no capability, to duplicate":  {"CAP_SYS_PTRACE", true, "not-asked no-ptrace EPERM"},
		"a security module":            {"EPERM", false, "not-asked refused EPERM"},
		"a kernel without pidfd_getfd": {"ENOSYS", true, "not-asked kernel ENOSYS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The prober process may not read this process's /proc for the network namespace.
			fd, err := unix.FcntlInt(uintptr(s.near.FD()), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ns := os.NewFile(uintptr(fd), "netns")
			defer ns.Close()
			cmd := play("restricted", ns)
			cmd.Env = append(cmd.Env, envRefuse+"="+x.refuse)
			o := order{Dir: t.TempDir(), Netns: s.netns, Owner: j.owner.PID, One: true}
			o.Netns.Paths = []string{"/proc/self/fd/3"}
			if x.numbered {
				o.FD = j.fd
			}
			p := start(t, nil, cmd)
			p.tb = t
			if got := p.request("%s", o.encode(t)); got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
		})
	}
	t.Cleanup(func() { j.wantOptions(untouched) })
}

// inWords formats an answer as one line.
func inWords(result, obstacle fmt.Stringer, errno string) string {
	return strings.Join(strings.Fields(result.String()+" "+obstacle.String()+" "+errno), " ")
}
