// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stamp changes with a file's content, unless the file changes twice within a tick of the kernel's clock: see ShowsChangesAfter.
// The zero Stamp is that of no file.
type Stamp struct {
	dev, inode        uint64
	size              int64
	modified, changed unix.Timespec
}

// ctimeGranularity is longer than the granularity of a file's change time: two changes within a tick of the kernel's
// clock, at most 10 ms, can have the same one.
const ctimeGranularity = 100 * time.Millisecond

// StampOf returns the stamp of a file, zero if info does not come from the kernel.
func StampOf(info fs.FileInfo) Stamp {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}
	}
	return Stamp{
		dev: uint64(st.Dev), inode: st.Ino, size: st.Size, // 32 bits wide on mips
		modified: unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}, changed: unix.Timespec{Sec: st.Ctim.Sec, Nsec: st.Ctim.Nsec},
	}
}

// StampAt returns the stamp of the file with that name in an open directory. It does not follow a symbolic link.
func StampAt(dir int, name string) (Stamp, error) {
	var st unix.Stat_t
	if err := RetryErr(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return Stamp{dev: uint64(st.Dev), inode: st.Ino, size: st.Size, modified: st.Mtim, changed: st.Ctim}, nil
}

// Modified returns the modification time.
func (s Stamp) Modified() time.Time { return time.Unix(s.modified.Unix()) }

// ShowsChangesAfter reports whether a file that had this stamp at a time of the wall clock has another one after each later
// change. A program can set the modification time, but not the change time.
func (s Stamp) ShowsChangesAfter(readAt time.Time) bool {
	return s != Stamp{} && readAt.Sub(time.Unix(s.changed.Unix())) >= ctimeGranularity
}
