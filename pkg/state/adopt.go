// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// adoptedAge is subtracted from the modification time of an adopted record's file. The file is then older than that of any
// ADD in progress, which removes it (see removeOthers).
const adoptedAge = time.Minute

// Adopt writes the record of an attachment that has no file yet, and sets Adopted in it. It returns false if the attachment
// has a file, damaged ones included, and if a concurrent Put writes one: the file of the Put stays.
//
// A Delete at the same time may miss the new file. The caller checks afterwards whether the container still exists, and calls
// Remove if it does not.
func (s *Store) Adopt(r Record) (written bool, err error) {
	if written, err = s.adopt(r); err != nil {
		return false, fmt.Errorf("adopt %s: %w", r.Attachment, err)
	}
	return written, nil
}

func (s *Store) adopt(r Record) (written bool, err error) {
	r.Version, r.Adopted = Version, true
	name, err := r.FileName()
	if err != nil {
		return false, err
	}
	data, err := encode(r)
	if err != nil {
		return false, err
	}
	dir, err := s.openForPut()
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	if others, err := othersOf(dir, r.Attachment, ""); err != nil || len(others) > 0 {
		return false, err
	}
	if err := createIn(dir, name, data); err != nil {
		if errors.Is(err, unix.EEXIST) { // another process adopted it
			return false, nil
		}
		return false, err
	}
	// A Put that has not listed the files yet removes this one. The file of one that has done so is listed here.
	if others, err := othersOf(dir, r.Attachment, name); err != nil || len(others) > 0 {
		return false, errors.Join(err, unlinkAt(dir, name))
	}
	return true, nil
}

// othersOf returns the files of an attachment except for the one of that name.
func othersOf(dir int, a Attachment, name string) (others []string, err error) {
	names, err := namesWithPrefix(dir, a.base())
	if err != nil {
		return nil, fmt.Errorf("find records: %w", err)
	}
	for _, other := range names {
		if other != name && a.owns(other) {
			others = append(others, other)
		}
	}
	return others, nil
}

// createIn creates a file of mode 0600 atomically, with a modification time of adoptedAge ago. The error is EEXIST if a file
// of that name exists.
func createIn(dir int, name string, data []byte) error {
	tmp := temporaryName(rand.Int64())
	fd, err := openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("create", err)
	}
	defer func() { _ = unix.Unlinkat(dir, tmp, 0) }() // on an error, Prune removes it
	if err := fill(fd, data, untilReboot); err != nil {
		return err
	}
	old := unix.NsecToTimespec(time.Now().Add(-adoptedAge).UnixNano())
	if err := unix.UtimesNanoAt(dir, tmp, []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("utimensat", err)
	}
	return os.NewSyscallError("link", unix.Linkat(dir, tmp, dir, name, 0))
}
