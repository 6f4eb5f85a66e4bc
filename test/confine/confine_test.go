// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/deploy/seccomp"
)

// The environment of this program as a process that is confined and makes an attempt.
const (
	envProfile = "_HALFCLOSE_CONFINE_PROFILE"
	envAttempt = "_HALFCLOSE_CONFINE_ATTEMPT" // a name of attempts, or showStatus

	showStatus = "show the status"
)

// program is this program without the race detector, which makes system calls that no profile allows. It is set once,
// before the tests run.
var program string

func TestMain(m *testing.M) {
	name := os.Getenv(envAttempt)
	if name == "" {
		os.Exit(test(m))
	}
	if profile := os.Getenv(envProfile); profile != "" {
		if err := os.Unsetenv(envProfile); err != nil {
			panic(err)
		}
		err := run([]string{profile, "/proc/self/exe"}) // which starts this program again
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	runtime.LockOSThread()
	if name == showStatus {
		b, err := os.ReadFile("/proc/thread-self/status")
		fmt.Println(string(b), err)
		os.Exit(0)
	}
	fmt.Println("tried:", attempts()[name].try())
	os.Exit(0)
}

// test builds the program and runs the tests.
func test(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "confine")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "confine.test")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "confine: build this test: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// attempt is a system call, and the profiles that allow it. Whether it then succeeds does not matter.
type attempt struct {
	try               func() error
	reaper, installer bool
}

func attempts() map[string]attempt {
	raw := func(call uintptr, args ...uintptr) func() error {
		return func() error {
			var a [6]uintptr
			copy(a[:], args)
			_, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5])
			return errno
		}
	}
	const none = ^uintptr(0) // no descriptor, process or address
	socket := func(family uintptr) func() error { return raw(unix.SYS_SOCKET, family, 0, none) }
	return map[string]attempt{
		"open a file":                                {raw(unix.SYS_OPENAT, none, 0), true, true},
		"rename a file":                              {raw(unix.SYS_RENAMEAT2, none, 0, none, 0, 0), true, true},
		"enter a network namespace":                  {raw(unix.SYS_SETNS, none, unix.CLONE_NEWNET), true, false},
		"enter a namespace of any type":              {raw(unix.SYS_SETNS, none, 0), false, false},
		"enter a mount namespace":                    {raw(unix.SYS_SETNS, none, unix.CLONE_NEWNS), false, false},
		"enter a user namespace":                     {raw(unix.SYS_SETNS, none, unix.CLONE_NEWUSER), false, false},
		"enter a process namespace":                  {raw(unix.SYS_SETNS, none, unix.CLONE_NEWPID), false, false},
		"create a mount namespace":                   {raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS), false, false},
		"create a user and a network namespace":      {raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_NEWNET), false, false},
		"start a process in a user namespace":        {raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_THREAD), false, false},
		"open a netlink socket":                      {socket(unix.AF_NETLINK), true, false},
		"open a TCP socket":                          {socket(unix.AF_INET), true, false},
		"open an IPv6 socket":                        {socket(unix.AF_INET6), true, false},
		"open a unix socket":                         {socket(unix.AF_UNIX), true, false},
		"open a packet socket":                       {socket(unix.AF_PACKET), false, false},
		"open a vsock":                               {socket(unix.AF_VSOCK), false, false},
		"open a crypto socket":                       {socket(unix.AF_ALG), false, false},
		"load a BPF program":                         {raw(unix.SYS_BPF, unix.BPF_PROG_LOAD), true, false},
		"pin a BPF object":                           {raw(unix.SYS_BPF, unix.BPF_OBJ_PIN), false, false},
		"attach a BPF program to a cgroup":           {raw(unix.SYS_BPF, unix.BPF_PROG_ATTACH), false, false},
		"open another's BPF map":                     {raw(unix.SYS_BPF, unix.BPF_MAP_GET_FD_BY_ID), false, false},
		"copy another's descriptor":                  {raw(unix.SYS_PIDFD_GETFD, none, 0, 0), true, false},
		"open a network namespace by its handle":     {raw(unix.SYS_OPEN_BY_HANDLE_AT, nsfsRoot(), 0, 0), true, false},
		"open any file by its handle":                {raw(unix.SYS_OPEN_BY_HANDLE_AT, none, 0, 0), false, false},
		"map memory to execute":                      {raw(unix.SYS_MMAP, 0, 0, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON, none), false, false},
		"make memory executable":                     {raw(unix.SYS_MPROTECT, 0, 0, unix.PROT_EXEC), false, false},
		"signal another process":                     {raw(unix.SYS_KILL, 1<<30, uintptr(unix.SIGTERM)), false, false},
		"end a program that hangs":                   {raw(unix.SYS_KILL, 1<<30, uintptr(unix.SIGKILL)), true, true},
		"signal another process through its pidfd":   {raw(unix.SYS_PIDFD_SEND_SIGNAL, none, uintptr(unix.SIGTERM)), false, false},
		"end a thread":                               {raw(unix.SYS_TGKILL, none, none, uintptr(unix.SIGKILL)), true, false},
		"preempt a thread":                           {raw(unix.SYS_TGKILL, none, none, uintptr(unix.SIGURG)), true, true},
		"trace a process":                            {raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, none), false, false},
		"read another's memory":                      {raw(unix.SYS_PROCESS_VM_READV, none), false, false},
		"write to another's memory":                  {raw(unix.SYS_PROCESS_VM_WRITEV, none), false, false},
		"mount":                                      {raw(unix.SYS_MOUNT, 0), false, false},
		"open a file system":                         {raw(unix.SYS_FSOPEN, 0), false, false},
		"unmount":                                    {raw(unix.SYS_UMOUNT2, 0), false, false},
		"change the root directory":                  {raw(unix.SYS_CHROOT, 0), false, false},
		"pivot the root directory":                   {raw(unix.SYS_PIVOT_ROOT, 0), false, false},
		"load a kernel module":                       {raw(unix.SYS_FINIT_MODULE, none), false, false},
		"load another kernel":                        {raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, none), false, false},
		"reboot":                                     {raw(unix.SYS_REBOOT, 0), false, false},
		"set the clock":                              {raw(unix.SYS_CLOCK_SETTIME, none), false, false},
		"set the host's name":                        {raw(unix.SYS_SETHOSTNAME, 0, none), false, false},
		"add a key":                                  {raw(unix.SYS_ADD_KEY, 0), false, false},
		"watch a hardware counter":                   {raw(unix.SYS_PERF_EVENT_OPEN, 0), false, false},
		"set up io_uring":                            {raw(unix.SYS_IO_URING_SETUP, 0), false, false},
		"handle page faults":                         {raw(unix.SYS_USERFAULTFD, none), false, false},
		"create a device":                            {raw(unix.SYS_MKNODAT, none, 0, unix.S_IFCHR), false, false},
		"become another user":                        {raw(unix.SYS_SETRESUID, none, none, none), false, false},
		"change its capabilities":                    {raw(unix.SYS_CAPSET, 0), false, false},
		"execute from memory":                        {raw(unix.SYS_MEMFD_CREATE, 0), false, false},
		"lower the priority of the machine's others": {raw(unix.SYS_SETPRIORITY, none), false, false},
	}
}

// nsfsRoot is FD_NSFS_ROOT as the kernel gets it.
func nsfsRoot() uintptr {
	fd := unix.FD_NSFS_ROOT
	return uintptr(fd)
}

// TestTheProfilesRefuseTheCallsThatNoContainerNeeds makes each attempt under each profile, and without one.
func TestTheProfilesRefuseTheCallsThatNoContainerNeeds(t *testing.T) {
	for name, a := range attempts() {
		for profile, allowed := range map[string]bool{seccomp.Reaper: a.reaper, seccomp.Installer: a.installer} {
			t.Run(profile+"/"+name, func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command(program)
				cmd.Env = append(os.Environ(), envProfile+"="+profile, envAttempt+"="+name)
				out, err := cmd.CombinedOutput()
				exit, failed := errors.AsType[*exec.ExitError](err)
				refused := failed && (strings.Contains(string(out), "SIGSYS") || exit.ExitCode() == -1)
				switch {
				case refused == allowed:
					t.Errorf("allowed %v, want %v: %v\n%.2000s", !refused, allowed, err, out)
				case allowed && !strings.HasPrefix(string(out), "tried: "):
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// TestAProgramInAContainerHasTheGrantedCapabilitiesOnly reads them from the program, with its no_new_privs and its filter.
func TestAProgramInAContainerHasTheGrantedCapabilitiesOnly(t *testing.T) {
	for profile, capabilities := range map[string]uint64{
		seccomp.Reaper: 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH, seccomp.Installer: 0,
	} {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), envProfile+"="+profile, envAttempt+"="+showStatus)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{
			fmt.Sprintf("CapPrm:\t%016x\n", capabilities), fmt.Sprintf("CapEff:\t%016x\n", capabilities), fmt.Sprintf("CapBnd:\t%016x\n", capabilities),
			"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
		} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", profile, want, out)
			}
		}
	}
}
