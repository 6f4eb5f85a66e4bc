// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/daemon"
)

// envHoldLock names, in the environment, a lock that the test binary holds until its stdin is closed.
const envHoldLock = "HALFCLOSE_TEST_HOLD_LOCK"

func holdLock(path string) int {
	me := api.Holder{PID: os.Getpid(), StartedBy: api.ByPlugin, Since: time.Unix(1700000000, 0).UTC(), Version: "v9"}
	if _, err := daemon.Acquire(path, me); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func lockPath(t *testing.T) string { return filepath.Join(t.TempDir(), "reaper.lock") }

func acquire(t *testing.T, path string, me api.Holder) *daemon.Lock {
	t.Helper()
	l, err := daemon.Acquire(path, me)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	return l
}

func TestLockExcludesOthersAndNamesItsHolder(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first := acquire(t, path, api.Holder{PID: 4711, StartedBy: api.BySystemd, Since: since, Version: "v1"})

	_, err := daemon.Acquire(path, api.Holder{PID: 4712})
	held, ok := errors.AsType[*daemon.HeldError](err)
	if !ok {
		t.Fatalf("a second Acquire: %v, want a *HeldError", err)
	}
	if diff := cmp.Diff(api.Holder{PID: 4711, StartedBy: api.BySystemd, Since: since, Version: "v1"}, held.Holder); diff != "" {
		t.Errorf("holder (-want +got):\n%s", diff)
	}
	const want = "process 4711, started by systemd at 2026-01-02T03:04:05Z"
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not have %q", err, want)
	}

	first.Release()
	second := acquire(t, path, api.Holder{PID: 4712})
	if err := second.Valid(); err != nil {
		t.Errorf("the lock of a released one: %v", err)
	}
}

func TestReleaseTakesTheLockFromAChildProcessToo(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	first := acquire(t, path, api.Holder{PID: 4711})
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	// A duplicate stands for the child's descriptor: both refer to the same open file.
	found := false
	for _, fd := range fds {
		n, err := strconv.Atoi(filepath.Base(fd))
		if target, _ := os.Readlink(fd); err != nil || target != path {
			continue
		}
		child, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(child)
		found = true
		break
	}
	if !found {
		t.Fatal("the lock has no descriptor")
	}
	first.Release()
	acquire(t, path, api.Holder{PID: 4712})
}

func TestHolderText(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, h := range map[string]api.Holder{
		"process 7, started by the CNI plugin at 2026-01-02T03:04:05Z":     {PID: 7, StartedBy: api.ByPlugin, Since: since},
		"process 7, started by a command at 2026-01-02T03:04:05Z":          {PID: 7, StartedBy: api.ByCommand, Since: since},
		"process 7, started by an unknown process at 2026-01-02T03:04:05Z": {PID: 7, StartedBy: "\x1b[2J", Since: since},
		"another process": {},
	} {
		if got := h.String(); got != want {
			t.Errorf("%+v: %q, want %q", h, got, want)
		}
	}
}

func TestLockWithAnUnreadableHolderExcludesOthers(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	acquire(t, path, api.Holder{PID: 4711})
	if err := os.WriteFile(path, []byte(`{"pid": 47`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := daemon.Acquire(path, api.Holder{PID: 4712})
	if held, ok := errors.AsType[*daemon.HeldError](err); !ok || held.Holder.PID != 0 {
		t.Errorf("Acquire: %v, want a *HeldError with an unknown holder", err)
	}
}

func TestLockIsReleasedWhenItsProcessIsKilled(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envHoldLock+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, _ := stdout.Read(line)
	if got := string(line[:n]); got != "held\n" {
		t.Errorf("the other process prints %q", got)
	}
	_, err = daemon.Acquire(path, api.Holder{})
	if held, ok := errors.AsType[*daemon.HeldError](err); !ok || held.Holder.PID != cmd.Process.Pid || held.Holder.StartedBy != api.ByPlugin {
		t.Errorf("Acquire beside process %d: %v", cmd.Process.Pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	acquire(t, path, api.Holder{PID: os.Getpid()})
}

func TestLockIsInvalidIfItsFile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"was removed": os.Remove,
		"was replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
		"was moved away": func(path string) error { return os.Rename(path, path+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := lockPath(t)
			l := acquire(t, path, api.Holder{PID: 1})
			if err := l.Valid(); err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if err := l.Valid(); err == nil {
				t.Error("the lock is valid")
			}
		})
	}
}

func TestLockNeedsItsDirectory(t *testing.T) {
	t.Parallel()
	_, err := daemon.Acquire(filepath.Join(t.TempDir(), "absent", "reaper.lock"), api.Holder{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Acquire: %v", err)
	}
}

func TestLockIsARegularFile(t *testing.T) {
	t.Parallel()
	const text = "untouched"
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, create := range map[string]func(path string) error{
		"not a symbolic link": func(path string) error { return os.Symlink(target, path) },
		"not a FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
		"not a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := lockPath(t)
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			if l, err := daemon.Acquire(path, api.Holder{}); err == nil {
				l.Release()
				t.Error("it was locked")
			}
		})
	}
	t.Cleanup(func() {
		if got, err := os.ReadFile(target); err != nil || string(got) != text {
			t.Errorf("the link's target has %q, %v", got, err)
		}
	})
}
