// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// temporaryAge is the age after which the writer of a temporary file counts as dead.
const temporaryAge = 10 * time.Minute

// RemoveTemporaries deletes the temporary files that killed processes have left in a directory: those of another boot or older
// than ten minutes. replaced has the names of further files in it, as patterns of path.Match, that are replaced with package
// renameio. An absent directory is no error.
func RemoveTemporaries(dir string, replaced ...string) error {
	root, err := openDirectory(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer root.Close()
		err = removeTemporaries(root, func(name string) bool { return isTemporary(name) || replacesAny(name, replaced) })
	}
	if err != nil {
		return fmt.Errorf("remove temporary files in %s: %w", dir, err)
	}
	return nil
}

// replacesAny reports whether package renameio has chosen a name for the new content of one of the files: a dot, the file's
// name and a number.
func replacesAny(name string, files []string) bool {
	base, hasDot := strings.CutPrefix(strings.TrimRight(name, "0123456789"), ".")
	if !hasDot || len(base)+1 == len(name) {
		return false
	}
	for _, f := range files {
		if is, err := path.Match(f, base); err == nil && is {
			return true
		}
	}
	return false
}

func removeTemporaries(root *os.Root, isTemporary func(name string) bool) error {
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
