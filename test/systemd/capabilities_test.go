// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// containersOfOthers starts two containers whose processes belong to an ordinary user: one in a network namespace of root,
// one in the user's own namespaces, as a rootless runtime creates them.
func containersOfOthers(t *testing.T) map[string]*process {
	t.Helper()
	node.Need(t)
	self := func() *exec.Cmd { return &exec.Cmd{Path: "/proc/self/exe", Args: []string{os.Args[0]}} }
	ns := nstest.New(t)
	plain := self()
	plain.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	own := self()
	own.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: otherUser, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: otherUser, Size: 1}},
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	return map[string]*process{
		"another user's process": startContainer(t, plain, func() (err error) {
			ns.Do(t, func() { err = plain.Start() })
			return err
		}),
		"another user's namespace": startContainer(t, own, own.Start),
	}
}

// otherUser is the ID of a user without privileges.
const otherUser = 65534

// paths returns the paths of the containers' network namespaces. Opening them requires access to the processes.
func paths(all map[string]*process) (list []string) {
	for _, p := range all {
		list = append(list, fmt.Sprintf("/proc/%d/ns/net", p.cmd.Process.Pid))
	}
	return list
}

func TestTheReaperWorksWithTheUnitsCapabilitiesAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, finder := range []string{finder.NameSockDiag, finder.NameBPF} {
		t.Run(finder, func(t *testing.T) {
			t.Parallel()
			worksWithTheUnitsCapabilities(t, finder)
		})
	}
}

func worksWithTheUnitsCapabilities(t *testing.T, finder string) {
	all := containersOfOthers(t)
	r := startRestricted(t, finder, unitCapabilities(t), paths(all)...)
	for name, p := range all {
		r.AwaitSocket(p.Leak, api.SocketQuery{Owners: true}, "the leak of "+name+" is known with its owner", func(v api.SocketView) bool {
			return len(v.Owners) == 1 && v.Owners[0].PID == p.cmd.Process.Pid
		})
		list, err := r.Sockets(t.Context(), api.SocketQuery{Owners: true})
		if err != nil || len(list.Problems) > 0 {
			t.Errorf("with owners it cannot look at %v: %v", list.Problems, err)
		}
	}
	if _, err := r.Client.SetMode(t.Context(), api.ModeRequest{Mode: policy.Destroy, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	for name, p := range all {
		r.AwaitEntry(p.Leak, api.Destroyed)
		if leak, live := p.write(); leak != "ECONNABORTED" || live != "ok" {
			t.Errorf("%s: a write to the leak returns %s, and to the open connection to %s", name, leak, live)
		}
	}
	s, err := r.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Finder.Name != finder {
		t.Errorf("the finder is %s: %s", s.Finder.Name, s.Finder.Why)
	}
	for _, a := range s.Attachments {
		if a.Problem != "" || a.Inert != "" {
			t.Errorf("%s: %s%s", a.ContainerID, a.Problem, a.Inert)
		}
	}
	for line := range strings.Lines(r.Output()) {
		isLate := strings.Contains(line, "sweeps are behind schedule") // the machine is busy
		if !isLate && (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) {
			t.Errorf("it logs warnings:\n%s", r.Output())
			break
		}
	}
}

// complaints has, for each capability of the unit, the message for an operator if the capability is missing.
func complaints() map[string]func(t *testing.T, r *restrictedReaper) string {
	status := func(t *testing.T, r *restrictedReaper) api.Status {
		t.Helper()
		s, err := r.Client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	attachments := func(t *testing.T, r *restrictedReaper) (text string) {
		t.Helper()
		for _, a := range status(t, r).Attachments {
			text += a.Problem + "\n"
		}
		return text
	}
	return map[string]func(t *testing.T, r *restrictedReaper) string{
		"CAP_SYS_ADMIN":  attachments,
		"CAP_SYS_PTRACE": attachments,
		"CAP_NET_ADMIN": func(t *testing.T, r *restrictedReaper) string {
			t.Helper()
			return status(t, r).Mode.KernelProblem
		},
		"CAP_DAC_READ_SEARCH": func(t *testing.T, r *restrictedReaper) string {
			t.Helper()
			list, err := r.Sockets(t.Context(), api.SocketQuery{Owners: true})
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(list.Problems, "\n")
		},
	}
}

func TestTheReaperReportsWhichOfTheUnitsCapabilitiesIsMissing(t *testing.T) {
	t.Parallel()
	for _, missing := range unitCapabilities(t) {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			complaint := complaints()[missing]
			if complaint == nil {
				t.Fatal("the unit grants this capability, and no test needs it")
			}
			keep := slices.DeleteFunc(unitCapabilities(t), func(c string) bool { return c == missing })
			r := startRestricted(t, finder.NameAuto, keep, paths(containersOfOthers(t))...)
			nstest.Eventually(t, testnode.Patience, "the reaper reports that "+missing+" is missing", func() bool {
				return strings.Contains(complaint(t, r), missing)
			})
		})
	}
}

func TestSIGHUPStopsNoReaper(t *testing.T) {
	t.Parallel()
	r := startRestricted(t, finder.NameAuto, unitCapabilities(t))
	s, err := r.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Signal(unix.SIGHUP)
	nstest.Eventually(t, testnode.Patience, "it logs that it has read the records again", func() bool {
		return r.logged(`msg="reloaded records and mode switch" attachments=0 `)
	})
	if after, err := r.Client.Status(t.Context()); err != nil || after.Holder != s.Holder {
		t.Errorf("the reaper was %v, and is %v: %v", s.Holder, after.Holder, err)
	}
}
