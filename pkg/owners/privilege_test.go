// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// otherUser starts a process of another user that owns the sockets.
func otherUser(t *testing.T, ns *nstest.NS, sockets ...socket) process {
	t.Helper()
	mapped, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	var first, host, count uint64
	if _, err := fmt.Sscan(string(mapped), &first, &host, &count); err != nil || count < 65536 {
		nstest.NeedPrivilege(t, "start a process of another user", unix.EPERM)
	}
	cmd := command("cat", sockets...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return start(t, ns, cmd)
}

func TestProcessesOfOtherUsersNeedTwoCapabilities(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	theirs, mine := newSocket(t, ns), newSocket(t, ns)
	holder := otherUser(t, ns, theirs)
	theirs.Close()
	me := []owners.Process{{PID: os.Getpid(), Command: commandOf(os.Getpid()), ContainerID: ownContainer(t)}}
	all := map[uint32][]owners.Process{theirs.inode: {holder.Process}, mine.inode: me}
	few := map[uint32][]owners.Process{mine.inode: me}
	for name, tc := range map[string]struct {
		keep []capability.Cap
		want map[uint32][]owners.Process
	}{
		"with both":                           {[]capability.Cap{capability.CAP_SYS_PTRACE, capability.CAP_DAC_READ_SEARCH}, all},
		"without the one to follow links":     {[]capability.Cap{capability.CAP_DAC_READ_SEARCH}, few},
		"without the one to list descriptors": {[]capability.Cap{capability.CAP_SYS_PTRACE}, few},
		"without any":                         {nil, few},
	} {
		t.Run(name, func(t *testing.T) {
			for name, scope := range map[string]owners.Scope{"everywhere": owners.AllProcesses, "beyond": owners.NetnsProcessesFirst} {
				var got map[uint32][]owners.Process
				ns.Do(t, func() {
					nstest.KeepCapabilities(t, tc.keep...)
					q := query(scope, []*nstest.NS{ns}, theirs, mine)
					if len(tc.want) == 2 {
						// A child of a parallel test has all descriptors until it executes its program.
						if err := nstest.Retry(20*time.Second, func() (err error) {
							if got, err = owners.NewProc("/proc").Find(t.Context(), q); err == nil && !cmp.Equal(tc.want, got) {
								err = errors.New("other owners are found")
							}
							return err
						}); err != nil {
							t.Error(err)
						}
						return
					}
					var e *owners.UnseenError
					if got, e = unseen(t, owners.NewProc("/proc"), q); e.Sockets != 1 || e.Asked != 2 || e.Denied == 0 || e.OtherPIDNS {
						t.Errorf("%s: %+v", name, e)
					}
					for _, want := range []string{"1 of 2 sockets", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"} {
						if !strings.Contains(e.Error(), want) {
							t.Errorf("%s: %q lacks %q", name, e, want)
						}
					}
				})
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestADeniedProcessIsCountedOnce(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	s := newSocket(t, ns)
	otherUser(t, ns, s)
	s.Close()
	ns.Do(t, func() {
		nstest.KeepCapabilities(t)
		_, everywhere := unseen(t, owners.NewProc("/proc"), query(owners.AllProcesses, []*nstest.NS{ns}, s))
		_, beyond := unseen(t, owners.NewProc("/proc"), query(owners.NetnsProcessesFirst, []*nstest.NS{ns}, s))
		// Other processes start and exit.
		if all := processes(t); everywhere.Denied > all*3/2 || beyond.Denied > all*3/2 {
			t.Errorf("of about %d processes %d and %d were denied", all, everywhere.Denied, beyond.Denied)
		}
	})
}

func TestErrorNamesAnotherPIDNamespaceAsTheCause(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	cat(t, ns)
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	const cause = "another PID namespace"
	for name, tc := range map[string]struct {
		flags uintptr
		netns int
		want  bool
	}{
		"in a PID namespace without the processes":                    {unix.CLONE_NEWPID, ns.FD(), true},
		"in a PID namespace, with processes in the network namespace": {unix.CLONE_NEWPID, int(own.Fd()), false},
		"in the test's": {0, ns.FD(), false},
	} {
		cmd := play("apart")
		cmd.Env = append(cmd.Env, fmt.Sprintf("NETNS=%d", inodeOf(t, tc.netns)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: tc.flags, Unshareflags: unix.CLONE_NEWNS}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		if got := strings.Contains(string(out), cause); got != tc.want {
			t.Errorf("%s: %s", name, out)
		}
	}
}
