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
)

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
	if err := removeTemporaries(root, isTemporary); err != nil {
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
