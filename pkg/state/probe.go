// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// probeSize is more bytes than the record of a usual attachment has.
const probeSize = 4 << 10

// Probe returns an error if Put is likely to fail. It writes a file among the records, or in the deepest existing directory
// on the way to them, and removes it.
func (s *Store) Probe() error {
	if err := s.probe(); err != nil {
		return fmt.Errorf("write in state directory %s: %w", s.dir, err)
	}
	return nil
}

// ProbeDir returns an error if a file cannot be written in a directory, or in the deepest existing one on the way to it. It
// leaves no file there.
func ProbeDir(dir string) error {
	if err := probe(dir, func() (*os.Root, error) { return openDirectory(dir) }); err != nil {
		return fmt.Errorf("write in directory %s: %w", dir, err)
	}
	return nil
}

func (s *Store) probe() error { return probe(s.AttachmentsDir(), s.openDir) }

func probe(missing string, open func() (*os.Root, error)) error {
	root, err := open()
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(missing) != missing {
		if _, there := os.Lstat(missing); there == nil {
			return err // a dangling link, in place of which no directory can be created
		}
		missing = filepath.Dir(missing)
		root, err = openDirectory(missing)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.OpenFile(".", unix.O_TMPFILE|os.O_WRONLY, filePerm)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) { // not every file system has nameless files
		f, err = createNameless(root)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Close())
}

// createNameless creates a file and removes its name. The name is one of a temporary file: no reader takes it for a record,
// and Prune deletes it if this process is killed before that.
func createNameless(root *os.Root) (*os.File, error) {
	name := temporaryName(rand.Int64())
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, err
	}
	if err := root.Remove(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
