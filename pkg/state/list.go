// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Listing is what the state directory holds.
type Listing struct {
	Records  []Record  // by container ID and interface
	Problems []Problem // by file name
}

// Problem is a file that is in the place of a record and cannot be read as one.
type Problem struct {
	File    string    // its name in AttachmentsDir; whatever made it chose it, so quote it where it is shown
	Err     error     // what is wrong: ErrNewer, ErrInvalid, or an error of reading it
	ModTime time.Time // when it was last written, by the wall clock; zero if that is not known
	// OtherBoot says that it was left by another boot: it says so itself, or was last written before this
	// one. It is false where that cannot be told, and for what Prune would not delete.
	OtherBoot bool
}

// List reads all records. It errs only when the directory cannot be read; an absent one is an empty
// Listing. A record that is written or deleted meanwhile may be in the Listing or not.
func (s *Store) List() (Listing, error) {
	l, err := s.list()
	if err != nil {
		return Listing{}, fmt.Errorf("list records: %w", err)
	}
	return l, nil
}

func (s *Store) list() (Listing, error) {
	root, err := s.openDir()
	if errors.Is(err, fs.ErrNotExist) {
		return Listing{}, nil
	}
	if err != nil {
		return Listing{}, err
	}
	defer root.Close()
	names, err := readNames(root)
	if err != nil {
		return Listing{}, err
	}
	var l Listing
	for _, name := range names {
		data, info, err := readFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		var r Record
		if err == nil {
			r, err = decode(name, data)
		}
		if err == nil {
			l.Records = append(l.Records, r)
			continue
		}
		p := Problem{File: name, Err: withoutPath(err)}
		if info != nil {
			p.ModTime = info.ModTime()
			p.OtherBoot = prunable(info) && otherBoot(data, p.ModTime)
		}
		l.Problems = append(l.Problems, p)
	}
	slices.SortFunc(l.Records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
	})
	return l, nil
}

// readNames returns the names in the directory, sorted, without those of temporary files.
func readNames(root *os.Root) ([]string, error) {
	all, err := readAllNames(root)
	return slices.DeleteFunc(all, isTemporary), err
}

func readAllNames(root *os.Root) ([]string, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// isTemporary reports whether a name is that of a file that was to replace a record.
func isTemporary(name string) bool {
	record, ok := temporaryOf(name)
	if !ok {
		return false
	}
	_, err := ParseFileName(record)
	return err == nil
}

// readFile reads a regular file, and the start of one that is too large along with an error. info is nil
// if nothing is known of the file.
func readFile(root *os.Root, name string) (data []byte, info fs.FileInfo, err error) {
	info, err = root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, invalid(&hostfs.NotRegularError{Mode: info.Mode()})
	}
	// Should it have become a FIFO since, then this does not wait for the other end.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, info, err
	}
	defer f.Close()
	data, info, err = hostfs.ReadRegular(f, maxFileSize)
	return data, info, invalid(err)
}

// invalid makes an error ErrInvalid that says that a file cannot be a record.
func invalid(err error) error {
	_, irregular := errors.AsType[*hostfs.NotRegularError](err)
	_, large := errors.AsType[*hostfs.TooLargeError](err)
	if irregular || large {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

// withoutPath returns what went wrong with a file, without its name, which need not be fit to be shown.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", pathErr.Op, pathErr.Err)
	}
	return err
}

// otherBoot reports whether what is no record was left by another boot: by its field "boot" if it has one,
// else by when it was written.
func otherBoot(data []byte, modified time.Time) bool {
	if of := lenientBoot(data); of != "" {
		boot, err := netns.BootID()
		return err == nil && of != boot
	}
	booted, err := bootTime()
	return err == nil && modified.Before(booted)
}

// lenientBoot returns the field "boot" of a JSON object, of which only the beginning may be there; "" if
// there is none.
func lenientBoot(data []byte) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return ""
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return ""
		}
		if boot, ok := value.(string); ok && key == "boot" {
			return boot
		}
	}
	return ""
}
