// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// HeldError is the error of Acquire while another reaper holds the lock.
type HeldError struct{ Holder api.Holder }

func (e *HeldError) Error() string {
	return "another reaper uses this state directory: " + e.Holder.String()
}

// Lock makes a reaper the only one of its state directory. It is a flock(2) on a file in that directory, which the kernel
// releases however the process exits.
type Lock struct {
	file *os.File
}

// Acquire takes the lock and writes the holder into its file, for operators and other reapers. The error is a *HeldError if
// another process holds the lock.
func Acquire(path string, me api.Holder) (*Lock, error) {
	f, err := hostfs.OpenRegular(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open reaper lock: %w", err)
	}
	l := &Lock{f}
	err = hostfs.RetryErr(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		defer f.Close()
		return nil, &HeldError{readHolder(f)}
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("flock %s: %w", path, err)
	}
	if err := errors.Join(l.Valid(), l.writeHolder(me)); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// readHolder reads the holder from the lock's file. It returns the zero Holder while the file is empty or incomplete.
func readHolder(f *os.File) (h api.Holder) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil || json.Unmarshal(b, &h) != nil {
		return api.Holder{}
	}
	return h
}

func (l *Lock) writeHolder(me api.Holder) error {
	b, err := json.Marshal(me)
	if err == nil {
		err = l.file.Truncate(0)
	}
	if err == nil {
		_, err = l.file.WriteAt(append(b, '\n'), 0)
	}
	if err != nil {
		return fmt.Errorf("write the holder into the reaper lock: %w", err)
	}
	return nil
}

// Valid returns an error if another process has removed or replaced the lock's file. Another reaper may then hold a lock on
// the new file, and this one must exit.
func (l *Lock) Valid() error {
	at, err := os.Lstat(l.file.Name())
	if err != nil {
		return fmt.Errorf("reaper lock was removed: %w", err)
	}
	held, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("stat reaper lock: %w", err)
	}
	if !os.SameFile(at, held) {
		return fmt.Errorf("reaper lock %s was replaced by another file", l.file.Name())
	}
	return nil
}

// Release releases the lock. The file stays, empty: removing it would let two reapers hold two locks. Closing the file would
// not release the lock while a child process has the descriptor, as between fork(2) and execve(2).
func (l *Lock) Release() {
	_ = l.file.Truncate(0)
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	_ = l.file.Close()
}
