// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

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

// temporaryAge is the age after which the writer of a temporary file counts as dead.
const temporaryAge = 10 * time.Minute

// Prune deletes the named files of AttachmentsDir. The caller decides which: files that List reported to be of another boot,
// or whose netns is gone. Prune also deletes the temporary files of dead writers: those of another boot or older than ten
// minutes.
//
// An absent file is no error, and after an error Prune deletes the other files. It deletes only regular files and symbolic
// links.
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
		return errors.New("not a file name in " + attachmentsDir)
	}
	info, err := root.Lstat(name)
	if err == nil && !prunable(info) {
		return fmt.Errorf("not a regular file (%s): delete it by hand", info.Mode())
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

// bootTime returns the start of this boot according to the current setting of the wall clock.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
