// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAMissingCapabilityIsReportedWithItsEffect(t *testing.T) {
	for _, tt := range []struct {
		name       string
		capability uintptr
		check      func(t *testing.T, r doctor.Report)
	}{
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, func(t *testing.T, r doctor.Report) {
			has(t, r, "capabilities", doctor.Fail, "CAP_SYS_ADMIN is missing here: a reaper with these privileges can enter no namespace")
			has(t, r, "netns-entry", doctor.Fail, "needs CAP_SYS_ADMIN")
			has(t, r, "sock-destroy", doctor.OK, "in this process's own network namespace")
			if f := childTables(t, r); !strings.Contains(f.Do, "estimated") {
				t.Errorf("child tables cannot have been measured: %s", f.Do)
			}
		}},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, func(t *testing.T, r doctor.Report) {
			has(t, r, "capabilities", doctor.Fail, "CAP_NET_ADMIN is missing here: a reaper with these privileges can destroy nothing")
			has(t, r, "sock-destroy", doctor.Warn, "refused without CAP_NET_ADMIN; the kernel supports it")
		}},
		{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, func(t *testing.T, r doctor.Report) {
			has(t, r, "process-access", doctor.Warn, "CAP_SYS_PTRACE is missing here")
			has(t, r, "owners", doctor.Warn, "cannot be listed")
			if f := has(t, r, "peers", doctor.Warn, "refuse pidfd_getfd"); !strings.Contains(f.Do, "SYS_PTRACE") {
				t.Errorf("it does not name the capability: %s", f.Do)
			}
			hasNone(t, r, "", doctor.Fail)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := patient{StateDir: t.TempDir()}.command(t)
			var r doctor.Report
			without(t, tt.capability, func() { r = examine(t, cmd, func() {}) })
			tt.check(t, r)
		})
	}
}

func TestTheReportForAUserRecommendsRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store := state.New(dir)
	record(t, store, "web", nameNetns(t, "web"))
	cmd := patient{StateDir: dir}.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r := examine(t, cmd, func() {})
	for check, what := range map[string]string{
		"records": "for their owner only", "state-dir": "by user 65534", "process-access": "CAP_SYS_PTRACE", "sock-destroy": "refused without CAP_NET_ADMIN", "unregistered": "cannot be compared",
		"reaper": "its socket is for its owner only",
	} {
		if f := has(t, r, check, doctor.Warn, what); !strings.Contains(f.Do, "run it as root") {
			t.Errorf("%s does not recommend root: %s", check, f.Do)
		}
	}
	has(t, r, "capabilities", doctor.Fail, "CAP_SYS_ADMIN, CAP_NET_ADMIN are missing")
}

func TestAUserNamespaceIsReported(t *testing.T) {
	cmd := patient{StateDir: t.TempDir()}.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
	}
	r := examine(t, cmd, func() {})
	has(t, r, "user-namespace", doctor.Warn, "not the host's user namespace")
	has(t, r, "sock-destroy", doctor.OK, "it destroyed a connection created for this test") // in a namespace that it owns
	has(t, r, "bpf", doctor.Info, "host's user namespace")
}

// TestARefusalByASeccompFilterIsReported refuses system calls to a process that holds every capability.
func TestARefusalByASeccompFilterIsReported(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse nstest.Refusal
		check  func(t *testing.T, r doctor.Report)
	}{
		{"setns", nstest.Refusal{Call: unix.SYS_SETNS, Errno: unix.EPERM}, func(t *testing.T, r doctor.Report) {
			if f := has(t, r, "netns-entry", doctor.Fail, "CAP_SYS_ADMIN is held"); !strings.Contains(f.Do, "allow setns in the seccomp profile") {
				t.Errorf("it does not name the system call: %s", f.Do)
			}
			hasNone(t, r, "sock-destroy", doctor.Warn)
			hasNone(t, r, "owners", doctor.Warn)
			hasNone(t, r, "peers", doctor.Warn)
		}},
		{"sockets of AF_NETLINK", nstest.Refusal{Call: unix.SYS_SOCKET, Arg: unix.AF_NETLINK, Errno: unix.EAFNOSUPPORT}, func(t *testing.T, r doctor.Report) {
			has(t, r, "sock-destroy", doctor.Fail, "a seccomp filter or a security module refuses socket(AF_NETLINK)")
			has(t, r, "finder", doctor.Fail, "")
			hasNone(t, r, "netns-entry", doctor.Warn)
		}},
		{"pidfd_getfd", nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.EPERM}, func(t *testing.T, r doctor.Report) {
			if f := has(t, r, "peers", doctor.Warn, "refuse pidfd_getfd"); !strings.Contains(f.Do, "allow pidfd_open and pidfd_getfd in the seccomp profile") {
				t.Errorf("it does not name the system call: %s", f.Do)
			}
			hasNone(t, r, "owners", doctor.Warn)
			hasNone(t, r, "", doctor.Fail)
		}},
		{"pidfd_getfd as if the kernel had none", nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.ENOSYS}, func(t *testing.T, r doctor.Report) {
			has(t, r, "peers", doctor.Warn, "no peer can be probed")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.check(t, examine(t, patient{StateDir: t.TempDir(), Refuse: []nstest.Refusal{tt.refuse}}.command(t), func() {}))
		})
	}
}
