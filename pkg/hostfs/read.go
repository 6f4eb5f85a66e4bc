// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// NotRegularError is the error of reading a directory, a FIFO, a device or a socket.
type NotRegularError struct{ Mode fs.FileMode }

func (e *NotRegularError) Error() string { return fmt.Sprintf("not a regular file (%s)", e.Mode) }

// TooLargeError is the error of reading a file of more than Limit bytes.
type TooLargeError struct{ Limit int }

func (e *TooLargeError) Error() string { return fmt.Sprintf("larger than %d bytes", e.Limit) }

// ReadFile reads a regular file of at most limit bytes in the process's own root. flags add to O_RDONLY, such as
// O_NOFOLLOW, which refuses a symbolic link (ELOOP).
func ReadFile(path string, limit, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0) // a FIFO would block without it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, _, err := ReadRegular(f, limit)
	return data, err
}

// OpenRegular opens a regular file in the process's own root, or creates it with mode if flags have O_CREATE. Anything else
// at the path, a symbolic link too, is a NotRegularError and does not block.
func OpenRegular(path string, flags int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link, or a FIFO without a reader
		if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: path, Err: &NotRegularError{info.Mode()}}
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: &NotRegularError{info.Mode()}}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadRegular reads a regular file of at most limit bytes from its current offset. The caller has opened it with
// O_NONBLOCK, so that a FIFO did not block. info is from before the read, nil if stat(2) fails. With a TooLargeError, data has
// the first limit+1 bytes.
func ReadRegular(f *os.File, limit int) (data []byte, info fs.FileInfo, err error) {
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, &NotRegularError{info.Mode()}
	}
	// One byte more than the file, to reach its end without growing the slice. A file under /proc has size 0.
	data = make([]byte, 0, min(max(int(info.Size()), 511), limit)+1)
	for len(data) <= limit {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := f.Read(data[len(data):min(cap(data), limit+1)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, info, nil
		}
		if err != nil {
			return data, info, err
		}
	}
	return data, info, &TooLargeError{limit}
}

// ReadStart reads a file until buf is full or the file ends, and returns the part of buf that it has filled. name is relative to
// the directory with the descriptor dir, or absolute with unix.AT_FDCWD.
//
// It uses plain system calls. os.ReadFile costs twice as much for a small file of /proc, and initialises the runtime's
// poller, a twentieth of the plugin's CPU time.
func ReadStart(dir int, name string, buf []byte) ([]byte, error) {
	fd, err := Retry(func() (int, error) { return unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for n := 0; ; {
		m, err := Retry(func() (int, error) { return unix.Read(fd, buf[n:]) })
		if err != nil {
			return buf[:n], err
		}
		if n += m; m == 0 || n == len(buf) {
			return buf[:n], nil
		}
	}
}
