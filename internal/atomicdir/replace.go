// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package atomicdir

import (
	"bytes"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of changing a file that another process keeps writing. A retry may succeed.
var ErrBusy = errors.New("another process is writing it")

// ErrChanged is the error of moving a file that no longer holds the given data.
var ErrChanged = errors.New("it has changed since it was read")

// maxAttempts bounds how often in a row another process may be faster.
const maxAttempts = 10

// Update replaces a file by the result of edit, unless that is the same. Mode and owner stay. If another process writes
// the file at the same time, edit is called again with the new data.
func (d *Dir) Update(name string, edit func([]byte) ([]byte, error)) error {
	for range maxAttempts {
		old, err := d.read(name)
		if err != nil {
			return err
		}
		edited, err := edit(old.data)
		if err != nil || bytes.Equal(old.data, edited) {
			return err
		}
		if done, err := d.replace(name, old, edited); done || err != nil {
			return err
		}
	}
	return ErrBusy
}

// replace replaces a file by one with the data, and reports whether it did. If the file no longer holds the old data, it
// stays.
//
// A process that opened the file before the exchange may write to it afterwards. Such a write is detected up to the
// comparison below: open(2) with O_TRUNC empties the file at once. A later write to the old file is lost.
func (d *Dir) replace(name string, old content, data []byte) (bool, error) {
	tmp := temporaryName(digest(data), name)
	inode, err := d.create(tmp, data, old.stat)
	if err != nil {
		return false, err
	}
	if current, err := d.read(name); err != nil || !bytes.Equal(current.data, old.data) {
		return false, errors.Join(err, d.Remove(tmp))
	}
	err = d.exchange(tmp, name)
	if cannotRenameWithFlags(err) {
		if err = d.rename(tmp, name, 0); err == nil {
			return true, d.Sync() // another process's write since the comparison, microseconds ago, is lost
		}
	}
	if err != nil {
		return false, errors.Join(err, d.Remove(tmp))
	}
	if replaced, err := d.read(tmp); err == nil && bytes.Equal(replaced.data, old.data) {
		return true, errors.Join(d.Remove(tmp), d.Sync())
	}
	return false, d.undoExchange(tmp, name, content{data: data, stat: unix.Stat_t{Ino: inode}})
}

// undoExchange moves the file at tmp back to name, where the replacement is. If the file at name is another one by then, or
// another process has written to it, that is newer and is moved back in turn.
func (d *Dir) undoExchange(tmp, name string, replacement content) error {
	for range maxAttempts {
		back, err := d.read(tmp)
		if err != nil { // such as a symbolic link: it is moved back unread
			back = content{}
		}
		if err := d.exchange(tmp, name); err != nil {
			return err
		}
		out, err := d.read(tmp)
		if err == nil && out.stat.Ino == replacement.stat.Ino && bytes.Equal(out.data, replacement.data) {
			return errors.Join(d.Remove(tmp), d.Sync())
		}
		replacement = back
	}
	return errors.Join(ErrBusy, d.rename(tmp, name, 0), d.Sync()) // tmp is the newest
}

// exchange swaps two files in one step.
func (d *Dir) exchange(a, b string) error { return d.rename(a, b, unix.RENAME_EXCHANGE) }

// Move renames a file, or removes it if the new name is "". If the file does not hold the old data, it stays and the
// error is ErrChanged.
func (d *Dir) Move(name string, old []byte, to string) error {
	tmp := temporaryName(movedTag, name)
	if err := d.rename(name, tmp, 0); err != nil {
		return err
	}
	current, err := d.read(tmp)
	switch {
	case err != nil:
		return errors.Join(err, d.moveBack(tmp, name))
	case !bytes.Equal(current.data, old):
		if err := d.moveBack(tmp, name); err != nil {
			return err
		}
		return ErrChanged
	case to == "":
		return errors.Join(d.Remove(tmp), d.Sync())
	}
	return errors.Join(d.rename(tmp, to, 0), d.Sync())
}

// moveBack gives a file its name back, unless another process has created a new file of that name.
func (d *Dir) moveBack(tmp, name string) error {
	err := d.RenameNew(tmp, name)
	if errors.Is(err, fs.ErrExist) {
		return d.Remove(tmp)
	}
	return errors.Join(err, d.Sync())
}
