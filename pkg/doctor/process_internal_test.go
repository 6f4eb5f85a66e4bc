// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

const statusOfRoot = "Name:\tx\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n" +
	"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

func TestAProcessIsToldWhatItMayDo(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want process
		fail string
	}{
		{name: "all", text: statusOfRoot, want: process{effective: every, bounding: every, noNewPrivs: true, seccomp: 2}},
		{name: "a little", text: "CapEff:\t0000000000001000\nCapBnd:\t0000000000201000\n", want: process{effective: 1 << netAdmin, bounding: 1<<netAdmin | 1<<sysAdmin}},
		{name: "nothing", text: "", fail: "does not say"},
		{name: "half", text: "CapEff:\t0\n", fail: "does not say"},
		{name: "no number", text: "CapEff:\tall\n", fail: "CapEff"},
		{name: "no seccomp mode", text: "CapEff:\t0\nCapBnd:\t0\nSeccomp:\tx\n", fail: "Seccomp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p process
			err := p.parseStatus(tt.text)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want one with %q", err, tt.fail)
				}
				return
			}
			if err != nil || p != tt.want {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(statusOfRoot)
	f.Add("CapEff:")
	f.Fuzz(func(t *testing.T, text string) {
		p := root()
		p.err = p.parseStatus(text)
		complete(t, judgeProcess(p))
	})
}

func TestPrivilegesHeldAndMissing(t *testing.T) {
	good := []want{
		{"capabilities", OK, "CAP_SYS_ADMIN and CAP_NET_ADMIN are held", ""},
		{"capabilities", OK, "CAP_SYS_PTRACE", ""},
		{"user-namespace", OK, "", ""},
		{"pid-namespace", OK, "", ""},
		{"confinement", OK, "", ""},
	}
	for _, tt := range []struct {
		name   string
		change func(*process)
		wants  map[int]want
	}{
		{"root on the host", func(*process) {}, nil},
		{
			"a container without CAP_SYS_ADMIN", func(p *process) { p.effective, p.bounding = without(sysAdmin), without(sysAdmin) },
			map[int]want{0: {"capabilities", Fail, "CAP_SYS_ADMIN is missing here: a reaper with these privileges can enter no namespace", "securityContext.capabilities.add [SYS_ADMIN]"}},
		},
		{
			"a unit that could have it", func(p *process) { p.effective = without(netAdmin) },
			map[int]want{0: {"capabilities", Fail, "can destroy nothing", "AmbientCapabilities"}},
		},
		{"a user", func(p *process) { p.uid, p.effective = 1000, 0 }, map[int]want{
			0: {"capabilities", Fail, "CAP_SYS_ADMIN, CAP_NET_ADMIN are missing here", "run it as root"},
			1: {"capabilities", Warn, "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH are missing here", "run it as root"},
		}},
		{
			"no CAP_SYS_PTRACE", func(p *process) { p.effective, p.bounding = without(sysPtrace), without(sysPtrace) },
			map[int]want{1: {"capabilities", Warn, "not be followed", "[SYS_PTRACE]"}},
		},
		{
			"no CAP_DAC_READ_SEARCH", func(p *process) { p.effective, p.bounding = without(dacRead), without(dacRead) },
			map[int]want{1: {"capabilities", Warn, "the owners of sockets cannot be named", "[DAC_READ_SEARCH]"}},
		},
		{"a user namespace", func(p *process) { p.userNS = elsewhere }, map[int]want{2: {"user-namespace", Warn, "made in here", "hostUsers: true"}}},
		{"an unknown user namespace", func(p *process) { p.userNS = unknown }, map[int]want{2: {"user-namespace", Info, "cannot be told", "/proc"}}},
		{"a pid namespace", func(p *process) { p.pidNS = elsewhere }, map[int]want{3: {"pid-namespace", Warn, "cannot be named", "hostPID: true"}}},
		{"an unknown pid namespace", func(p *process) { p.pidNS = unknown }, map[int]want{3: {"pid-namespace", Info, "cannot be told", "/proc"}}},
		{"confined", func(p *process) { p.seccomp, p.noNewPrivs = 2, true }, map[int]want{4: {"confinement", Info, "seccomp filter", "Unconfined"}}},
		{"with no_new_privs alone", func(p *process) { p.noNewPrivs = true }, map[int]want{4: {"confinement", Info, "no_new_privs", "nothing"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := root()
			tt.change(&p)
			wants := append([]want{}, good...)
			for i, w := range tt.wants {
				wants[i] = w
			}
			expect(t, judgeProcess(p), wants...)
		})
	}
	t.Run("not known", func(t *testing.T) {
		p := inspectProcess(t.TempDir()) // no proc file system
		expect(t, judgeProcess(p), want{"privileges", Warn, "not known", "/proc"})
	})
}

func TestTheHostsMountNamespaceIsKnownByItsNumberOrByTheFirstProcess(t *testing.T) {
	for _, tt := range []struct {
		name       string
		own, first uint64
		pid        place
		want       place
	}{
		{"its number", hostfs.InitialMountNS, 0, unknown, onHost},
		{"as the first process", 4026531841, 4026531841, onHost, onHost},
		{"not as the first process", 4026532700, 4026531841, onHost, elsewhere},
		{"the first process cannot be seen", 4026531841, 0, onHost, unknown},
		{"a container's first process says nothing", 4026532700, 4026532700, elsewhere, elsewhere},
		{"nothing is known", 0, 0, unknown, unknown},
	} {
		if got := mountPlace(tt.own, tt.first, tt.pid); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
