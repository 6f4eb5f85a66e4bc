// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// File is a file among the records, as it was read. It is not changed.
type File struct {
	Name string
	// Record is zero if Problem is set.
	Record  Record
	Problem *Problem
	Hold    *Hold // the netns of a file with a Problem, if it names one // prose:ok: a noun

	stamp hostfs.Stamp // zero if the file is read again in any case
}

// isSame reports whether two reads of a file have given the same.
func (f *File) isSame(other *File) bool {
	if f == nil || other == nil {
		return f == other
	}
	if (f.Problem == nil) != (other.Problem == nil) {
		return false
	}
	if f.Problem != nil && f.Problem.Err.Error() != other.Problem.Err.Error() {
		return false
	}
	return reflect.DeepEqual(f.Hold, other.Hold) && reflect.DeepEqual(f.Record, other.Record)
}

// Reader reads the records of a Store again and again, and no file that has not changed: it knows a file by its inode, times
// and size. Its methods are for one goroutine at a time.
type Reader struct {
	store *Store
	files map[string]*File // by name
	dir   dirID            // that ReadAll has read
	reads uint64           // of files
}

// dirID identifies a directory.
type dirID struct{ dev, inode uint64 }

// NewReader returns a Reader that has read nothing.
func (s *Store) NewReader() *Reader { return &Reader{store: s, files: make(map[string]*File)} }

// File returns a file as it was read, nil if it is absent.
func (r *Reader) File(name string) *File { return r.files[name] }

// Reads returns the number of files that were read so far.
func (r *Reader) Reads() uint64 { return r.reads }

// ReadAll reads the new and the changed files, until ctx ends, and returns the names of the files that are different now
// or absent. If fresh is set it reads the others too. It fails only if ctx ends or the directory cannot be read; an absent directory
// is an empty one.
func (r *Reader) ReadAll(ctx context.Context, fresh bool) (changed []string, err error) {
	changed, err = r.readAll(ctx, fresh)
	if err != nil {
		return changed, fmt.Errorf("list records: %w", err)
	}
	return changed, nil
}

func (r *Reader) readAll(ctx context.Context, fresh bool) (changed []string, err error) {
	root, err := r.store.openDir()
	if errors.Is(err, fs.ErrNotExist) {
		r.dir = dirID{}
		return r.removeOthers(nil), nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A file that is deleted after its name was read may have been replaced by one whose name was not read.
	for tries := 0; ; tries++ {
		more, whole, err := r.readOnce(ctx, root, fresh && tries == 0)
		changed = append(changed, more...)
		if err != nil || whole || tries == maxReadTries {
			return changed, err
		}
	}
}

// maxReadTries bounds how often a directory is read again because it changed.
const maxReadTries = 3

// readOnce reports whether it found all files whose names it read.
func (r *Reader) readOnce(ctx context.Context, root *os.Root, fresh bool) (changed []string, whole bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	if r.dir, err = identify(dir); err != nil {
		return nil, false, err
	}
	names, err := namesIn(dir)
	if err != nil {
		return nil, false, err
	}
	whole = true
	present := make(map[string]bool, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return changed, false, err
		}
		at := time.Now()
		stamp, err := hostfs.StampAt(int(dir.Fd()), name)
		if errors.Is(err, fs.ErrNotExist) {
			whole = false
			continue
		}
		present[name] = true
		if known := r.files[name]; err == nil && known != nil && known.stamp == stamp && !fresh {
			continue
		}
		if !stamp.ShowsChangesAfter(at) {
			stamp = hostfs.Stamp{}
		}
		isChanged, isAbsent := r.read(root, name, stamp)
		if isAbsent {
			whole = false
		}
		if isChanged {
			changed = append(changed, name)
		}
	}
	return append(changed, r.removeOthers(present)...), whole, nil
}

// Read reads the files of these names, whether they have changed or not, and returns their names: a file that was written again with
// the same content may mean that its netns's path leads elsewhere now. If the directory is another one than ReadAll has read, it reads
// all files.
func (r *Reader) Read(ctx context.Context, names []string) (changed []string, err error) {
	root, err := r.store.openDir()
	if err != nil {
		return r.ReadAll(ctx, true)
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return r.ReadAll(ctx, true)
	}
	defer dir.Close()
	if id, err := identify(dir); err != nil || id != r.dir {
		return r.ReadAll(ctx, true)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return changed, fmt.Errorf("read records: %w", err)
		}
		if isTemporary(name) {
			continue
		}
		at := time.Now()
		stamp, err := hostfs.StampAt(int(dir.Fd()), name)
		if err != nil || !stamp.ShowsChangesAfter(at) {
			stamp = hostfs.Stamp{}
		}
		if isChanged, isAbsent := r.read(root, name, stamp); isChanged || !isAbsent {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// read reads a file. Its stamp is from before, or zero if a later change may not show in it.
func (r *Reader) read(root *os.Root, name string, stamp hostfs.Stamp) (isChanged, isAbsent bool) {
	r.reads++
	known := r.files[name]
	file, mayBeBetter := readOf(root, name)
	switch {
	case file == nil:
		delete(r.files, name)
		return known != nil, true
	case !mayBeBetter:
		file.stamp = stamp
	}
	r.files[name] = file
	return !file.isSame(known), false
}

// removeOthers forgets the files that are absent, and returns their names.
func (r *Reader) removeOthers(present map[string]bool) (names []string) {
	for name := range r.files {
		if !present[name] {
			delete(r.files, name)
			names = append(names, name)
		}
	}
	return names
}

// readOf reads a file, and returns nil if it is absent. If reading it failed, another attempt may succeed although the file has
// not changed.
func readOf(root *os.Root, name string) (f *File, mayBeBetter bool) {
	data, info, err := readFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	_, mayBeBetter = errors.AsType[unix.Errno](err)
	f = &File{Name: name}
	if err == nil {
		f.Record, err = decode(name, data)
	}
	if err == nil {
		return f, false
	}
	f.Record = Record{}
	p := &Problem{File: name, Err: withoutPath(err)}
	_, netns, err := ParseFileName(name)
	holds := err == nil
	if info != nil {
		p.ModTime = info.ModTime()
		p.OtherBoot = prunable(info) && otherBoot(data, p.ModTime, holds)
	}
	f.Problem = p
	if holds {
		f.Hold = &Hold{Netns: netns, File: name, Reason: p.Err.Error(), OtherBoot: p.OtherBoot}
	}
	return f, mayBeBetter
}

func identify(dir *os.File) (dirID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return dirID{}, os.NewSyscallError("fstat", err)
	}
	return dirID{uint64(st.Dev), st.Ino}, nil // 32 bits wide on mips
}
