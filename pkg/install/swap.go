// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// errBusy says that somebody else is writing: nothing is known to be wrong, and it is worth trying again soon.
var errBusy = errors.New("somebody else is writing it at this moment")

// tries is how often in a row somebody else may be quicker.
const tries = 10

// update puts what edit makes of a file in its place, if that is something else. Mode and owner stay. Whatever
// somebody else writes meanwhile is not lost: edit is then called with that.
func (d *directory) update(ctx context.Context, name string, edit func([]byte) ([]byte, error)) error {
	for range tries {
		was, err := d.read(name)
		if err != nil {
			return err
		}
		now, err := edit(was.data)
		if err != nil || bytes.Equal(was.data, now) {
			return err
		}
		if done, err := d.swap(ctx, name, was, now); done || err != nil {
			return err
		}
	}
	return errBusy
}

// swap puts data in the place of a file's content, and reports whether it did. It did not where the file holds
// something else by now, which then stays.
func (d *directory) swap(ctx context.Context, name string, was content, data []byte) (bool, error) {
	tmp := temporary(name, data)
	inode, err := d.create(tmp, data, was.stat)
	if err != nil {
		return false, err
	}
	if is, err := d.read(name); err != nil || !bytes.Equal(is.data, was.data) {
		return false, errors.Join(err, d.remove(tmp))
	}
	err = d.exchange(tmp, name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// The file system cannot exchange. Who writes within these microseconds is overwritten.
		err = d.rename(tmp, name, 0)
		if err == nil {
			return true, d.sync()
		}
	}
	if err != nil {
		return false, errors.Join(err, d.remove(tmp))
	}
	out, err := d.settled(ctx, tmp)
	if err == nil && bytes.Equal(out.data, was.data) {
		return true, errors.Join(d.remove(tmp), d.sync())
	}
	if back := d.putBack(tmp, name, content{data: data, stat: unix.Stat_t{Ino: inode}}); back != nil {
		return false, back
	}
	if errors.Is(err, errBusy) {
		return false, err
	}
	return false, nil // it has been written since, and there is more to be read
}

// putBack undoes an exchange: what is at tmp goes back to name, where ours is. If somebody has put a file there
// meanwhile, that is newer than what went back, and goes back in turn.
func (d *directory) putBack(tmp, name string, ours content) error {
	for range tries {
		back, err := d.read(tmp)
		if err != nil { // such as a link, which nobody should have put there: it goes back all the same
			back = content{}
		}
		if err := d.exchange(tmp, name); err != nil {
			return err
		}
		out, err := d.read(tmp)
		if err == nil && out.stat.Ino == ours.stat.Ino && (ours.data == nil || bytes.Equal(out.data, ours.data)) {
			return errors.Join(d.remove(tmp), d.sync())
		}
		ours = content{stat: back.stat} // whatever has become of its data: who writes there is late
	}
	return errBusy
}

// settleTime is how long who has a file open for writing may take to finish.
const settleTime = 2 * time.Second

// settled reads a file when nobody has it open for writing any more: one that was opened by its name before the
// name led elsewhere is still written to. The kernel grants a read lease (fcntl(2), F_SETLEASE) on nothing that
// is open for writing. Where it grants none at all, the file is read as it is.
func (d *directory) settled(ctx context.Context, name string) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	for {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
		if !pause(ctx, 5*time.Millisecond) {
			return content{}, errBusy
		}
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return readFile(f)
}

// exchange swaps two files in one step.
func (d *directory) exchange(a, b string) error { return d.rename(a, b, unix.RENAME_EXCHANGE) }

func (d *directory) rename(from, to string, flags uint) error {
	return d.failed("rename to", to, unix.Renameat2(d.fd(), from, d.fd(), to, flags))
}
