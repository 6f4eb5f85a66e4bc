// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// conditionOf returns the condition of one process.
func conditionOf(t *testing.T, pid int) owners.Condition {
	t.Helper()
	found, err := owners.NewProc("/proc").Conditions(t.Context(), []int{pid})
	if err != nil {
		t.Fatal(err)
	}
	c := found[pid]
	if c.Err != nil {
		t.Errorf("condition of process %d: %v", pid, c.Err)
	}
	return c
}

// awaitPause waits until a process has the pause.
func awaitPause(t *testing.T, pid int, want owners.Pause) {
	t.Helper()
	nstest.Eventually(t, patience, "the pause", func() bool { return conditionOf(t, pid).Pause == want })
}

func TestConditionOfAFrozenProcess(t *testing.T) {
	for name, version := range map[string]int{"version 1": 1, "version 2": 2} {
		t.Run(name, func(t *testing.T) {
			above := nstest.NewCgroup(t, version, nil)
			below := nstest.NewCgroup(t, version, above)
			frozen, other := cat(t, nil), cat(t, nil)
			below.Add(t, frozen.PID)
			awaitPause(t, frozen.PID, owners.Running)
			for what, c := range map[string]*nstest.Cgroup{"its own cgroup": below, "the one above": above} {
				c.Freeze(t)
				if got := conditionOf(t, frozen.PID).Pause; got != owners.Frozen {
					t.Errorf("%s is frozen: pause %d", what, got)
				}
				if got := conditionOf(t, other.PID).Pause; got != owners.Running {
					t.Errorf("a running process: pause %d", got)
				}
				c.Thaw(t)
				awaitPause(t, frozen.PID, owners.Running)
			}
		})
	}
}

func TestFrozenTimeGrowsOnlyWhileTheCgroupIsFrozen(t *testing.T) {
	c := nstest.NewCgroup(t, 2, nil)
	if _, err := os.Stat(c.Path() + "/cgroup.stat.local"); err != nil {
		t.Skipf("the kernel does not count it (Linux 6.18): %v", err)
	}
	p := cat(t, nil)
	c.Add(t, p.PID)
	before := conditionOf(t, p.PID)
	if before.FrozenTime != 0 || before.Cgroup == 0 {
		t.Errorf("before: %+v", before)
	}
	c.Freeze(t)
	nstest.Eventually(t, patience, "the time grows", func() bool { return conditionOf(t, p.PID).FrozenTime > 20*time.Millisecond })
	c.Thaw(t)
	awaitPause(t, p.PID, owners.Running)
	after := conditionOf(t, p.PID)
	if again := conditionOf(t, p.PID); again.FrozenTime != after.FrozenTime || again.Cgroup != before.Cgroup {
		t.Errorf("it grows after the thaw: %v, then %v", after, again)
	}
	if after.HasFrozenTime != before.HasFrozenTime {
		t.Errorf("HasFrozenTime: before %t, after %t", before.HasFrozenTime, after.HasFrozenTime)
	}
}

func TestConditionOfAStoppedProcess(t *testing.T) {
	stopped, other := cat(t, nil), cat(t, nil)
	leaderless, _ := startRole(t, nil, "leaderless")
	for _, p := range []process{stopped, leaderless} {
		awaitPause(t, p.PID, owners.Running)
		if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Kill(p.PID, unix.SIGCONT) }) // before the cleanup that waits for it to exit
		awaitPause(t, p.PID, owners.Stopped)
		if got := conditionOf(t, other.PID).Pause; got != owners.Running {
			t.Errorf("a running process: pause %d", got)
		}
		if err := unix.Kill(p.PID, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		awaitPause(t, p.PID, owners.Running)
	}
}

func TestConditionOfAnExitedProcess(t *testing.T) {
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "it is a zombie", func() bool {
		return conditionOf(t, zombie.Process.Pid).Exited
	})
	if err := zombie.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := conditionOf(t, zombie.Process.Pid); !got.Exited {
		t.Errorf("%+v after the wait", got)
	}
}

func TestConditionHasTheEffectOfSIGPIPE(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   owners.Sigpipe
	}{
		"the default":    {"exec cat", owners.SigpipeKills},
		"ignored":        {"trap '' PIPE; exec cat", owners.SigpipeIgnored},
		"with a handler": {"trap 'echo' PIPE; echo ready >&2; cat; exit", owners.SigpipeIgnored},
	} {
		t.Run(name, func(t *testing.T) {
			p := startShell(t, c.script)
			nstest.Eventually(t, patience, "the effect of SIGPIPE", func() bool { return conditionOf(t, p).Sigpipe == c.want })
		})
	}
}

// startShell starts a script that exits at the end of its standard input.
func startShell(t *testing.T, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// TestTheFirstProcessOfAPIDNamespaceSurvivesSIGPIPE checks the kernel too.
func TestTheFirstProcessOfAPIDNamespaceSurvivesSIGPIPE(t *testing.T) {
	cmd := exec.Command("bash", "-c", `kill -PIPE $$; echo survived; cat`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "make a PID namespace", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line := make([]byte, len("survived"))
	if _, err := out.Read(line); err != nil || string(line) != "survived" {
		t.Errorf("it writes %q: %v", line, err)
	}
	if got := conditionOf(t, cmd.Process.Pid).Sigpipe; got != owners.SigpipeIgnored {
		t.Errorf("SIGPIPE: %d", got)
	}
}

func TestConditionsReturnsWhenItsContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := owners.NewProc("/proc").Conditions(ctx, []int{os.Getpid()}); !errors.Is(err, context.Canceled) || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestCgroupsOutsideTheReadersNamespaceAreRead runs the reader in a cgroup namespace, like a container, and a process in
// another cgroup.
func TestCgroupsOutsideTheReadersNamespaceAreRead(t *testing.T) {
	readers, frozen := nstest.NewCgroup(t, 2, nil), nstest.NewCgroup(t, 2, nil)
	p := cat(t, nil)
	frozen.Add(t, p.PID)
	frozen.Freeze(t)
	frozenText, unknownText := fmt.Sprintln(owners.Frozen, nil), fmt.Sprint(owners.PauseUnknown, " ")
	for name, c := range map[string]struct{ init, hide, want string }{
		"by way of process 1":                                    {strconv.Itoa(os.Getpid()), "1", frozenText},
		"by a mount of the whole hierarchy":                      {"0", "", frozenText},
		"where neither process 1 nor a mount leads out of there": {"0", "1", unknownText},
	} {
		cmd := play("confine")
		cmd.Env = append(cmd.Env, "CGROUP="+readers.Path(), fmt.Sprintf("PID=%d", p.PID), "INIT="+c.init, "HIDE="+c.hide)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s: %q, want %q: %v", name, out, c.want, err)
		}
		if strings.Contains(string(out), "needs hostPID") != (c.want == unknownText) {
			t.Errorf("%s: %q", name, out)
		}
	}
}
