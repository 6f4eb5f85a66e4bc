// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/capability"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

const statusOfRoot = "Name:\tx\nUid:\t0\t0\t0\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

func TestTheStatusOfAProcessIsParsed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		text    string
		want    process
		wantErr string
	}{
		{name: "confined", text: statusOfRoot, want: process{noNewPrivs: true, seccomp: 2}},
		{name: "empty", text: ""},
		{name: "no seccomp mode", text: "Seccomp:\tx\n", wantErr: "Seccomp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p process
			err := p.parseStatus(tt.text)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || p != tt.want {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

func TestTheCapabilitiesAreThoseOfTheStatus(t *testing.T) {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	p := inspectProcess("/proc")
	if p.err != nil {
		t.Fatal(p.err)
	}
	for _, want := range []string{fmt.Sprintf("CapEff:\t%016x\n", uint64(p.effective)), fmt.Sprintf("CapBnd:\t%016x\n", uint64(p.bounding))} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %q, want it in\n%s", want, text)
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(statusOfRoot)
	f.Add("Seccomp:")
	f.Fuzz(func(t *testing.T, text string) {
		p := root()
		p.err = p.parseStatus(text)
		complete(t, reportProcess(p))
	})
}

func TestHeldAndMissingPrivilegesAreReported(t *testing.T) {
	good := []want{
		{"capabilities", OK, "CAP_SYS_ADMIN and CAP_NET_ADMIN are held", ""},
		{"process-access", OK, "CAP_SYS_PTRACE", ""},
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
			"a container without CAP_SYS_ADMIN", func(p *process) {
				p.effective, p.bounding = without(capability.CAP_SYS_ADMIN), without(capability.CAP_SYS_ADMIN)
			},
			map[int]want{0: {"capabilities", Fail, "CAP_SYS_ADMIN is missing here: a reaper with these privileges can enter no namespace", "securityContext.capabilities.add [SYS_ADMIN]"}},
		},
		{
			"a unit that could have it", func(p *process) { p.effective = without(capability.CAP_NET_ADMIN) },
			map[int]want{0: {"capabilities", Fail, "can destroy nothing", "AmbientCapabilities"}},
		},
		{"a user", func(p *process) { p.uid, p.effective = 1000, 0 }, map[int]want{
			0: {"capabilities", Fail, "CAP_SYS_ADMIN, CAP_NET_ADMIN are missing here", "run it as root"},
			1: {"process-access", Warn, "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH are missing here", "run it as root"},
		}},
		{
			"no CAP_SYS_PTRACE", func(p *process) {
				p.effective, p.bounding = without(capability.CAP_SYS_PTRACE), without(capability.CAP_SYS_PTRACE)
			},
			map[int]want{1: {"process-access", Warn, "cannot be resolved", "[SYS_PTRACE]"}},
		},
		{
			"no CAP_DAC_READ_SEARCH", func(p *process) {
				p.effective, p.bounding = without(capability.CAP_DAC_READ_SEARCH), without(capability.CAP_DAC_READ_SEARCH)
			},
			map[int]want{1: {"process-access", Warn, "socket owners cannot be found", "[DAC_READ_SEARCH]"}},
		},
		{"a user namespace", func(p *process) { p.userNS = elsewhere }, map[int]want{2: {"user-namespace", Warn, "created in it", "hostUsers: true"}}},
		{"an unknown user namespace", func(p *process) { p.userNS = unknown }, map[int]want{2: {"user-namespace", Info, "cannot determine", "/proc"}}},
		{"a pid namespace", func(p *process) { p.pidNS = elsewhere }, map[int]want{3: {"pid-namespace", Warn, "cannot be found", "hostPID: true"}}},
		{"an unknown pid namespace", func(p *process) { p.pidNS = unknown }, map[int]want{3: {"pid-namespace", Info, "cannot determine", "/proc"}}},
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
			expect(t, reportProcess(p), wants...)
		})
	}
	t.Run("unknown", func(t *testing.T) {
		p := inspectProcess(t.TempDir()) // no proc file system
		expect(t, reportProcess(p), want{"privileges", Warn, "unknown", "/proc"})
	})
}

func TestTheHostsMountNamespaceIsRecognizedByItsNumberOrProcess1(t *testing.T) {
	for _, tt := range []struct {
		name       string
		own, first uint64
		pid        place
		want       place
	}{
		{"its number", hostfs.InitialMountNS, 0, unknown, onHost},
		{"that of process 1", 4026531841, 4026531841, onHost, onHost},
		{"not that of process 1", 4026532700, 4026531841, onHost, elsewhere},
		{"process 1 is not visible", 4026531841, 0, onHost, unknown},
		{"process 1 of a container is no proof", 4026532700, 4026532700, elsewhere, elsewhere},
		{"nothing is known", 0, 0, unknown, unknown},
	} {
		if got := mountPlace(tt.own, tt.first, tt.pid); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
