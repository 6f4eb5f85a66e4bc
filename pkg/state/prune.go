// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// temporaryAge is how old a temporary file must be for its writer to be dead.
const temporaryAge = 10 * time.Minute

// Prune deletes the named files of AttachmentsDir, which a List just before reported as left by another
// boot, or whose namespaces are gone: what to delete and when is the caller's decision. It also deletes
// the temporary files of writers that died, which are those of another boot or older than ten minutes.
//
// A file that is not there is no error, and an error does not keep the other files. Only regular files and
// symbolic links are deleted.
func (s *Store) Prune(files ...string) error {
	root, err := s.openDir()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("prune records: %w", err)
	}
	defer root.Close()
	var errs []error
	for _, name := range files {
		if err := pruneFile(root, name); err != nil {
			errs = append(errs, fmt.Errorf("prune %q: %w", name, withoutPath(err)))
		}
	}
	if err := pruneTemporaries(root); err != nil {
		errs = append(errs, fmt.Errorf("prune temporary files: %w", err))
	}
	return errors.Join(errs...)
}

// prunable reports whether Prune deletes files of this kind.
func prunable(info fs.FileInfo) bool {
	return info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0
}

func pruneFile(root *os.Root, name string) error {
	if name == "" || strings.Contains(name, "/") {
		return errors.New("not the name of a file in " + attachmentsDir)
	}
	info, err := root.Lstat(name)
	if err == nil && !prunable(info) {
		return fmt.Errorf("it is no regular file (%s): delete it by hand", info.Mode())
	}
	if err == nil {
		err = root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func pruneTemporaries(root *os.Root) error {
	names, err := readAllNames(root)
	if err != nil {
		return err
	}
	now := time.Now()
	oldest := now.Add(-temporaryAge)
	if booted, err := bootTime(); err == nil && booted.After(oldest) {
		oldest = booted
	}
	var errs []error
	for _, name := range names {
		if !isTemporary(name) {
			continue
		}
		info, err := root.Lstat(name)
		if err == nil && info.ModTime().Before(oldest) {
			err = pruneFile(root, name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// bootTime returns when this boot began, by the wall clock as it is set now.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
