// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// errAbsent is the error of reading a file that does not exist.
var errAbsent = errors.New("does not exist")

// errChanging is the error of a file that was replaced while it was being read, or that a program has open for writing.
var errChanging = errors.New("is being written")

// ReadFile reads a policy file at an absolute path. The file, and each directory and symbolic link on the way to it, must be
// root's, or the effective user's, and writable by its owner alone. Two kinds of directories that other users can write to
// are allowed: one with the sticky bit, in which they cannot replace root's files, and a ConfigMap's, which the kubelet makes
// with mode 0777 and mounts read-only. dirs are the directories whose changes may change the file,
// also after an error.
func ReadFile(path string) (data []byte, dirs []string, err error) {
	const tries = 3
	for range tries {
		if data, dirs, err = readOnce(path); !errors.Is(err, errReplaced) {
			return data, dirs, err
		}
	}
	return nil, dirs, fmt.Errorf("%s %w", path, errChanging)
}

// errReplaced is the error of a file that was replaced between the check and the opening.
var errReplaced = errors.New("replaced while it was being checked")

func readOnce(path string) (data []byte, dirs []string, err error) {
	w := hostfs.Walk{Visit: func(at string, st unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && !slices.Contains(dirs, at) {
			dirs = append(dirs, at)
		}
		return checkTrusted(at, st)
	}}
	at, seen, err := w.To(path)
	switch {
	case errors.Is(err, hostfs.ErrMissing) && w.Links == 0:
		return nil, dirs, errAbsent
	case err != nil:
		return nil, dirs, err
	}
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = errReplaced
		}
		return nil, dirs, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, dirs, &os.PathError{Op: "stat", Path: at, Err: err}
	}
	if st.Ino != seen.Ino || st.Dev != seen.Dev {
		return nil, dirs, errReplaced
	}
	if err := checkTrusted(at, st); err != nil {
		return nil, dirs, err
	}
	data, err = read(f)
	if err != nil {
		return nil, dirs, fmt.Errorf("%s: %w", at, err)
	}
	return data, dirs, nil
}

// read reads a regular file that no program has open for writing: such a file may have a part of its content only.
func read(f *os.File) ([]byte, error) {
	data, info, err := hostfs.ReadRegular(f, MaxBytes)
	if err != nil {
		return nil, err
	}
	if isOpenForWriting(f) {
		return data, errChanging
	}
	if after, err := f.Stat(); err != nil || after.Size() != int64(len(data)) || !after.ModTime().Equal(info.ModTime()) {
		return data, errChanging
	}
	return data, nil
}

// isOpenForWriting reports whether a program has the file open for writing. A read lease can only be taken if none has
// (fcntl(2), F_SETLEASE). A file system without leases has no answer, which counts as no.
func isOpenForWriting(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing the file releases it too
	}
	return errors.Is(err, unix.EAGAIN)
}

// checkTrusted returns why a component of the path allows a user other than root to change the policy.
func checkTrusted(at string, st unix.Stat_t) error {
	kind := "file"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		kind = "directory"
		if st.Mode&unix.S_ISVTX != 0 || st.Mode&0o022 != 0 && isConfigMap(at) {
			st.Mode &^= 0o022
		}
	case unix.S_IFLNK:
		kind, st.Mode = "link", 0 // the mode of a link has no meaning
	}
	if euid := os.Geteuid(); euid != 0 && int(st.Uid) == euid {
		st.Uid = 0
	}
	if err := hostfs.CheckOwner(kind+" "+at, st); err != nil {
		if errors.Is(err, hostfs.ErrNotRoots) {
			return fmt.Errorf("%w: run chown -h root %s", err, at)
		}
		return fmt.Errorf("%w: run chmod go-w %s", err, at)
	}
	return nil
}

// isConfigMap reports whether a directory is the volume of a ConfigMap: a read-only mount of its own, with the kubelet's link
// to the current version. Read-only alone is not enough: a service manager may mount all of /etc read-only for this process.
func isConfigMap(dir string) bool {
	var fs unix.Statfs_t
	if err := hostfs.RetryErr(func() error { return unix.Statfs(dir, &fs) }); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		return false
	}
	own := hostfs.Dir("")
	if mount := own.MountID(dir); mount == 0 || mount == own.MountID(filepath.Dir(dir)) {
		return false
	}
	var data unix.Stat_t
	err := unix.Lstat(filepath.Join(dir, "..data"), &data)
	return err == nil && data.Mode&unix.S_IFMT == unix.S_IFLNK && data.Uid == 0
}

// ReadAll reads a policy file of any owner, for a check of its content. A path of "-" is in.
func ReadAll(path string, in io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, &os.PathError{Op: "read", Path: path, Err: unix.EISDIR}
		}
		in = f
	}
	return io.ReadAll(io.LimitReader(in, MaxBytes+1)) // Parse reports that it is too large
}

// nameOf returns the name of a policy file in the sources of values.
func nameOf(path string) string { return filepath.Base(path) }
