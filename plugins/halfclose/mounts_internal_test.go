// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// readOnly mounts the state directory on itself, read-only. It is for inMounts.
func (n *node) readOnly() error {
	dir := n.store.Dir()
	return errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND, ""),
		unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

// cramped mounts a small file system on the state directory. It is for inMounts.
func (n *node) cramped() error {
	return unix.Mount("halfclose", n.store.Dir(), "tmpfs", unix.MS_NOSUID, "mode=700,size=1m,nr_inodes=8")
}

// fill uses all inodes of a cramped file system.
func (n *node) fill(t *testing.T) {
	for i := range 100 {
		err := os.WriteFile(filepath.Join(n.store.Dir(), strconv.Itoa(i)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
	t.Error("the file system never fills up")
}

// inMounts runs mount and then test on a thread with a mount namespace of its own, which ends with the thread.
// If test stops with Fatal, the goroutine and the test end.
func inMounts(t *testing.T, mount func() error, test func()) {
	t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err = unix.Unshare(unix.CLONE_NEWNS); err == nil {
			err = errors.Join(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""), mount())
		}
		if err == nil {
			test()
		}
	}()
	<-done
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "mount", err)
	}
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
}
