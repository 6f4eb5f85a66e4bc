// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// HungMount is a FUSE file system whose server does not answer: each path below Dir hangs until Answer.
type HungMount struct {
	Dir  string
	conn *os.File
}

// MountHung mounts one on a new directory until the test ends.
func MountHung(t testing.TB) *HungMount {
	t.Helper()
	dir := t.TempDir()
	conn, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		Skip(t, fmt.Sprintf("open FUSE: %v: load the module fuse", err))
	}
	m := &HungMount{Dir: dir, conn: conn}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0", conn.Fd(), unix.S_IFDIR|0o755)
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = conn.Close()
		if errors.Is(err, unix.EPERM) {
			NeedPrivilege(t, "mount FUSE", err)
		}
		t.Fatalf("mount FUSE: %v", err)
	}
	t.Cleanup(func() {
		m.Answer()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return m
}

// Answer ends all operations that hang, and each later one, with an error.
func (m *HungMount) Answer() { _ = m.conn.Close() }
