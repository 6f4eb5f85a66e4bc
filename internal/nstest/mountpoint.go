// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// MountPoint is a file on which network namespaces can be mounted, as runtimes do below /run/netns. It is in a mount
// namespace of its own, which the kernel frees when the test ends.
type MountPoint struct {
	// Path leads to the file from this mount namespace, for this process and for any other that may read its /proc/PID/task.
	Path string

	file string
	work chan func()
}

// NewMountPoint creates a mount point. Without the privilege the test is skipped; if CI is set, it fails.
func NewMountPoint(tb testing.TB) *MountPoint {
	tb.Helper()
	m := &MountPoint{file: filepath.Join(tb.TempDir(), "netns"), work: make(chan func())}
	if err := os.WriteFile(m.file, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	ready := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the thread exits with its mount namespace
		m.Path = fmt.Sprintf("/proc/%d/task/%d/root%s", os.Getpid(), unix.Gettid(), m.file)
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		ready <- err
		if err == nil {
			for fn := range m.work {
				fn()
			}
		}
	}()
	if err := <-ready; err != nil {
		NeedPrivilege(tb, "create a mount namespace", err)
	}
	tb.Cleanup(func() {
		close(m.work)
		<-ended
	})
	return m
}

// Mount mounts a network namespace on the file, in place of the one before.
func (m *MountPoint) Mount(tb testing.TB, ns *NS) {
	tb.Helper()
	m.Unmount(tb)
	source := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD())
	m.do(tb, "mount", func() error { return unix.Mount(source, m.file, "", unix.MS_BIND, "") })
}

// Unmount unmounts the network namespace, if there is one.
func (m *MountPoint) Unmount(tb testing.TB) {
	tb.Helper()
	m.do(tb, "unmount", func() error {
		if err := unix.Unmount(m.file, unix.MNT_DETACH); !errors.Is(err, unix.EINVAL) {
			return err
		}
		return nil // nothing is mounted
	})
}

func (m *MountPoint) do(tb testing.TB, what string, fn func() error) {
	tb.Helper()
	done := make(chan error)
	m.work <- func() { done <- fn() }
	if err := <-done; err != nil {
		tb.Fatalf("%s a network namespace: %v", what, err)
	}
}
