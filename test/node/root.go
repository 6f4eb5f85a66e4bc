// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownRoot gives the node a root directory that belongs to its root user. In a user namespace of an ordinary user the host's
// / belongs to a user outside of the namespace, who could replace any program below it. The content of the host's / stays
// visible.
func ownRoot() error {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil || st.Uid == 0 {
		return err
	}
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	const root = "/run/root"
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, at := filepath.Join("/", e.Name()), filepath.Join(root, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, at); err != nil {
				return err
			}
		case e.IsDir():
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(from, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount %s: %w", at, err)
			}
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The new root is mounted over the old one, which is then unmounted from below it (pivot_root(2), "pivot_root(".",
	// ".")").
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return os.Chdir(wd)
}
