// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Listing is the content of the state directory.
type Listing struct {
	// Records are sorted by container ID and interface. Two have the same attachment and different network namespaces if Add
	// wrote the second, or if a Put was killed before it removed the older one.
	Records  []Record
	Problems []Problem // sorted by file name
	// Holds are those of the files in Problems that name a netns, sorted by file name.
	Holds []Hold // prose:ok: a noun
}

// Hold caps a netns at observe, since a file about it cannot be read or used: its policy may ask for that.
type Hold struct {
	Netns  NetnsKey
	File   string // its name in AttachmentsDir; another program may have chosen it, so quote it for output
	Reason string // what is wrong with it
	// OtherBoot reports that the file seems to be of another boot, in which its cookie and inode number named another netns.
	// Since the boot ID may be the damaged part, the file holds a netns of which both numbers match.
	OtherBoot bool
}

// Names reports whether the hold applies to a netns.
func (h Hold) Names(id netns.Identity) bool {
	if h.OtherBoot {
		return h.Netns == KeyOf(id)
	}
	return h.Netns.Names(id)
}

// Problem is a file among the records that cannot be read as a record.
type Problem struct {
	File    string    // its name in AttachmentsDir; another program may have chosen it, so quote it for output
	Err     error     // ErrNewer, ErrInvalid, or an error of reading the file
	ModTime time.Time // by the wall clock; zero if unknown
	// OtherBoot reports that the file is of another boot: by its boot ID, or because it was last written before this boot. It
	// is false if that is unknown, and for files that Prune does not delete.
	OtherBoot bool
}

// List reads all records until ctx ends. It fails only if ctx ends or the directory cannot be read; an absent
// directory is an empty Listing. The Listing may or may not have a record that is written or deleted at the same time.
func (s *Store) List(ctx context.Context) (Listing, error) {
	l, err := s.list(ctx)
	if err != nil {
		return Listing{}, fmt.Errorf("list records: %w", err)
	}
	return l, nil
}

func (s *Store) list(ctx context.Context) (Listing, error) {
	r := s.NewReader()
	_, err := r.readAll(ctx, false)
	if err != nil {
		return Listing{}, err
	}
	return r.Listing(), nil
}

// Listing returns the files that the last call of ReadAll has found.
func (r *Reader) Listing() (l Listing) {
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[name]
		if f.Problem == nil {
			l.Records = append(l.Records, f.Record)
			continue
		}
		l.Problems = append(l.Problems, *f.Problem)
		if f.Hold != nil {
			l.Holds = append(l.Holds, *f.Hold)
		}
	}
	slices.SortFunc(l.Records, CompareRecords)
	return l
}

// CompareRecords orders records by container ID, interface and time.
func CompareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName), a.Time.Compare(b.Time))
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
	return sortedNames(dir)
}

// namesIn returns the names in an open directory, sorted, without those of temporary files.
func namesIn(dir *os.File) ([]string, error) {
	all, err := sortedNames(dir)
	return slices.DeleteFunc(all, isTemporary), err
}

func sortedNames(dir *os.File) ([]string, error) {
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// readFile reads a regular file. With the error of one that is too large it returns the file's start. info is nil if it is
// unknown.
func readFile(root *os.Root, name string) (data []byte, info fs.FileInfo, err error) {
	info, err = root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, invalid(&hostfs.NotRegularError{Mode: info.Mode()})
	}
	// Without O_NONBLOCK this would block if the file has become a FIFO.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, info, err
	}
	defer f.Close()
	data, info, err = hostfs.ReadRegular(f, maxFileSize)
	return data, info, invalid(err)
}

// invalid wraps an error in ErrInvalid if it shows that a file cannot be a record.
func invalid(err error) error {
	_, irregular := errors.AsType[*hostfs.NotRegularError](err)
	_, large := errors.AsType[*hostfs.TooLargeError](err)
	if irregular || large {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

// withoutPath returns an error without the file's name, which may have any characters.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", pathErr.Op, pathErr.Err)
	}
	return err
}

// otherBoot reports whether a file that is no record is of another boot: by its field "boot" if it has one, else by its
// modification time. The modification time does not count for a file that holds a netns: if the clock was set forward
// since, the file would look too old.
func otherBoot(data []byte, modified time.Time, holds bool) bool {
	var of string
	if json.Unmarshal(lenientFields(data)["boot"], &of) == nil && of != "" {
		boot, err := netns.BootID()
		return err == nil && of != boot
	}
	if holds {
		return false
	}
	booted, err := bootTime()
	return err == nil && modified.Before(booted)
}

// lenientFields returns the fields of a JSON object that may be cut short. Of a repeated field it returns the first.
func lenientFields(data []byte) map[string]json.RawMessage {
	fields := make(map[string]json.RawMessage)
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return fields
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fields
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fields
		}
		if name, ok := key.(string); ok && fields[name] == nil {
			fields[name] = value
		}
	}
	return fields
}
