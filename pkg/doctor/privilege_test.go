// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestWithoutACapabilityTheReportSaysWhichAndWhatThatKeepsFrom(t *testing.T) {
	for _, tt := range []struct {
		name       string
		capability uintptr
		check      func(t *testing.T, r doctor.Report)
	}{
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, func(t *testing.T, r doctor.Report) {
			has(t, r, "capabilities", doctor.Fail, "CAP_SYS_ADMIN is missing here: a reaper with these privileges can enter no namespace")
			has(t, r, "sock-destroy", doctor.OK, "in this process's own network namespace")
			if f := childTables(t, r); !strings.Contains(f.Do, "estimated") {
				t.Errorf("child tables cannot have been measured: %s", f.Do)
			}
		}},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, func(t *testing.T, r doctor.Report) {
			has(t, r, "capabilities", doctor.Fail, "CAP_NET_ADMIN is missing here: a reaper with these privileges can destroy nothing")
			has(t, r, "sock-destroy", doctor.Warn, "for want of CAP_NET_ADMIN; the kernel itself has it")
		}},
		{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, func(t *testing.T, r doctor.Report) {
			has(t, r, "capabilities", doctor.Warn, "CAP_SYS_PTRACE is missing here")
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

func TestAUserIsToldWhatOnlyRootCanSee(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store := state.New(dir)
	record(t, store, "web", nameNetns(t, "web"))
	cmd := patient{StateDir: dir}.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r := examine(t, cmd, func() {})
	for check, what := range map[string]string{
		"records": "for their owner alone", "state-dir": "by user 65534", "capabilities": "CAP_SYS_PTRACE", "sock-destroy": "for want of CAP_NET_ADMIN", "unregistered": "cannot be compared",
		"reaper": "its socket is for its owner alone",
	} {
		if f := has(t, r, check, doctor.Warn, what); !strings.Contains(f.Do, "run it as root") {
			t.Errorf("%s does not say to run it as root: %s", check, f.Do)
		}
	}
	has(t, r, "capabilities", doctor.Fail, "CAP_SYS_ADMIN, CAP_NET_ADMIN are missing")
}

func TestAUserNamespaceIsSeenToBeOne(t *testing.T) {
	cmd := patient{StateDir: t.TempDir()}.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
	}
	r := examine(t, cmd, func() {})
	has(t, r, "user-namespace", doctor.Warn, "not the host's user namespace")
	has(t, r, "sock-destroy", doctor.OK, "it destroyed a connection made for it") // in a namespace that it owns
	has(t, r, "bpf", doctor.Info, "host's user namespace")
}
