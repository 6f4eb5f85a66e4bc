// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// cgroupVar is an environment variable with the name of the parent of the machines' cgroups.
const cgroupVar = "SYSTEMD_TEST_CGROUP"

// unified opens the root of the cgroup v2 hierarchy, which need not be mounted.
func unified() (root *os.File, err error) {
	fsfd, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open cgroup2: %w", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return nil, fmt.Errorf("open cgroup2: %w", err)
	}
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup2: %w", err)
	}
	return os.NewFile(uintptr(fd), "cgroup2"), nil
}

// below returns a path relative to an open directory. It is valid until the directory is closed.
func below(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// makeCgroups creates the cgroup for this run's machines, if that is permitted.
func makeCgroups() error {
	root, err := unified()
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	name := nstest.CgroupPrefix() + strconv.Itoa(os.Getpid())
	err = os.Mkdir(below(root, name), 0o755)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return errors.Join(err, os.Setenv(cgroupVar, name))
}

// removeCgroups removes the cgroup, even if a machine was killed.
func removeCgroups() error {
	name := os.Getenv(cgroupVar)
	if name == "" {
		return nil
	}
	root, err := unified()
	if err != nil {
		return err
	}
	defer root.Close()
	return node.RemoveCgroup(below(root, name))
}

// newCgroup creates a cgroup for one machine, and returns its open directory.
func newCgroup(t *testing.T) *os.File {
	t.Helper()
	parent := os.Getenv(cgroupVar)
	if parent == "" {
		nstest.NeedPrivilege(t, "make a cgroup", unix.EPERM)
	}
	root, err := unified()
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.MkdirTemp(below(root, parent), "machine")
	if err != nil {
		t.Fatalf("make a cgroup: %v", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dir.Close(), node.RemoveCgroup(path), root.Close()); err != nil {
			t.Errorf("remove the machine's cgroup: %v", err)
		}
	})
	return dir
}
