// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// filesystem is what a directory is on.
type filesystem struct {
	kind        int64 // its magic number (linux/magic.h); 0 if unknown
	bytes       uint64
	inodes      uint64
	countInodes bool // else it has as many as it needs
}

func inspectFilesystem(dir string) filesystem {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return filesystem{}
	}
	return filesystem{
		kind:  int64(st.Type) & 0xFFFFFFFF, // some are negative where the field is 32 bits wide
		bytes: st.Bavail * uint64(st.Bsize), inodes: st.Ffree, countInodes: st.Files > 0,
	}
}

// name names the file systems that a state directory is likely to be on.
func (f filesystem) name() string {
	switch f.kind {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.CIFS_SUPER_MAGIC:
		return "cifs"
	case unix.SMB2_SUPER_MAGIC:
		return "smb2"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	}
	return fmt.Sprintf("file system %#x", f.kind)
}

// remote reports whether another machine, or another process, is behind it.
func (f filesystem) remote() bool {
	switch f.kind {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return true
	}
	return false
}

// volatile reports whether a reboot empties it.
func (f filesystem) volatile() bool { return f.kind == unix.TMPFS_MAGIC || f.kind == unix.RAMFS_MAGIC }

// What a full node's records, saved candidates and log take, with room to spare.
const (
	fewBytes  = 32 << 20
	fewInodes = 1000
)

// scarce says what there is little left of, "" if there is enough.
func (f filesystem) scarce() string {
	var left []string
	if f.kind != 0 && f.bytes < fewBytes {
		left = append(left, fmt.Sprintf("%d KiB", f.bytes>>10))
	}
	if f.countInodes && f.inodes < fewInodes {
		left = append(left, fmt.Sprintf("%d inodes", f.inodes))
	}
	return strings.Join(left, " and ")
}
