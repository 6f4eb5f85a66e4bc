// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The names of what an installer leaves only when it is killed. They begin with a dot and do not end in .conf,
// .conflist or .json, so that no runtime loads them.
//
// The successor of a file is called after it and after a digest of what it holds. A file that is to go is put
// aside before it goes. While the drop-ins of a network change, there is a file that says so.
const (
	mark      = ".halfclose-"
	asideMark = ".halfclose-aside"
	nudgeMark = ".halfclose-reload"
)

// temporary is the name of a file's successor that holds data.
func temporary(name string, data []byte) string { return "." + name + mark + digest(data) }

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// tidy finishes what an installer that was killed has left, and needs the lock. It puts back what that had taken
// away and not looked at: that may be what somebody else wrote in that very moment.
func (d *directory) tidy() error {
	entries, err := d.entries()
	if err != nil {
		return err
	}
	successor := regexp.MustCompile(`^\.(.+)` + regexp.QuoteMeta(mark) + `([0-9a-f]{16})$`)
	for _, e := range entries {
		left, hidden := strings.CutPrefix(e.Name(), ".")
		if !hidden {
			continue
		}
		name, aside := strings.CutSuffix(left, asideMark)
		network, nudge := strings.CutSuffix(left, nudgeMark)
		parts := successor.FindStringSubmatch(e.Name())
		switch {
		case nudge:
			err = errors.Join(d.tidyBelow(network), d.remove(e.Name())) // which tells the runtimes, too
		case aside:
			err = d.back(e.Name(), name)
		case parts != nil:
			err = d.undo(e.Name(), parts[1], parts[2])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undo deals with a successor that was left. It may never have been put in its place, nor completely written; or its
// place holds what is called for, and it is what was there before. Then that goes back.
func (d *directory) undo(left, name, sum string) error {
	is, err := d.read(name)
	if err != nil || digest(is.data) != sum {
		return d.remove(left)
	}
	return d.putBack(left, name, is)
}

// aside takes a file that holds was away, and reports whether it did. It did not where the file holds something
// else by now, which then stays. The file is afterwards called to, or gone where that is empty.
func (d *directory) aside(ctx context.Context, name string, was []byte, to string) (bool, error) {
	left := "." + name + asideMark
	if err := d.rename(name, left, 0); err != nil {
		return false, err
	}
	if is, err := d.settled(ctx, left); err != nil || !bytes.Equal(is.data, was) {
		return false, errors.Join(err, d.back(left, name))
	}
	if to == "" {
		return true, errors.Join(d.remove(left), d.sync())
	}
	return true, errors.Join(d.rename(left, to, 0), d.sync())
}

// back gives a file that was put aside its name again, unless somebody has made a new one of that name.
func (d *directory) back(left, name string) error {
	err := d.place(left, name)
	if errors.Is(err, fs.ErrExist) {
		return d.remove(left)
	}
	return errors.Join(err, d.sync())
}

// place gives a file a name that nothing may have yet.
func (d *directory) place(from, to string) error {
	err := d.rename(from, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can make sure
		entries, err := d.entries()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == to }) {
			return d.failed("rename to", to, fs.ErrExist)
		}
		return d.rename(from, to, 0)
	}
	return err
}
