// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Call is a system call that waits for its fault.
type Call struct {
	Number uintptr
	Args   [6]uint64
	// PID and TID are the process and the thread that make the call.
	PID, TID int
}

// Program returns the name of the process, the first 15 bytes of its program's.
func (c *Call) Program() string {
	text, _ := os.ReadFile(c.proc("comm")) // "" if it has exited
	return strings.TrimSpace(string(text))
}

// FD returns what an argument refers to as a descriptor: a path, or a name such as socket:[123]. "" stands for none.
func (c *Call) FD(arg int) string {
	fd := int32(c.Args[arg]) //nolint:gosec // the kernel takes these bits
	if fd == unix.AT_FDCWD {
		target, _ := os.Readlink(c.proc("cwd"))
		return target
	}
	target, _ := os.Readlink(c.proc("fd", strconv.Itoa(int(fd))))
	return target
}

// Path returns the path that the call is about: that of its first path argument, or that of its descriptor. A relative path
// is joined to its directory's. Links are not resolved.
func (c *Call) Path() string {
	if at, ok := pathArguments(c.Number); ok {
		return c.pathAt(at[0], at[1])
	}
	return c.FD(0)
}

// Target returns the second path of a rename or link, "" for another call.
func (c *Call) Target() string {
	switch c.Number {
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT:
		return c.pathAt(2, 3)
	}
	return ""
}

// Below reports whether one of the call's paths is dir or below it.
func (c *Call) Below(dir string) bool {
	below := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	return below(c.Path()) || below(c.Target())
}

// Data returns n bytes of the caller's memory at an argument.
func (c *Call) Data(arg, n int) ([]byte, error) {
	data := make([]byte, n)
	return data, c.read(c.Args[arg], data)
}

// String returns the call with its paths, or with its first three arguments.
func (c *Call) String() string {
	text := name(c.Number)
	if path := c.Path(); path != "" {
		text += " " + path
	} else {
		text += fmt.Sprintf("(%#x, %#x, %#x)", c.Args[0], c.Args[1], c.Args[2])
	}
	if target := c.Target(); target != "" {
		text += " -> " + target
	}
	return text
}

// pathArguments returns the numbers of the arguments with the directory's descriptor, -1 for none, and with the path.
func pathArguments(nr uintptr) (at [2]int, ok bool) {
	switch nr {
	case unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT,
		unix.SYS_MKNODAT, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_READLINKAT, unix.SYS_UTIMENSAT, unix.SYS_STATX, unix.SYS_FACCESSAT,
		unix.SYS_FACCESSAT2, unix.SYS_EXECVEAT, sysFstatat:
		return [2]int{0, 1}, true
	case unix.SYS_SYMLINKAT:
		return [2]int{1, 2}, true
	case unix.SYS_EXECVE, unix.SYS_STATFS:
		return [2]int{-1, 0}, true
	case unix.SYS_INOTIFY_ADD_WATCH:
		return [2]int{-1, 1}, true
	}
	return at, false
}

func (c *Call) pathAt(dir, path int) string {
	text, err := c.text(c.Args[path])
	if err != nil || filepath.IsAbs(text) {
		return text
	}
	base := ""
	if dir >= 0 {
		base = c.FD(dir)
	} else {
		base, _ = os.Readlink(c.proc("cwd"))
	}
	return filepath.Join(base, text)
}

func (c *Call) proc(elem ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(c.PID)}, elem...)...)
}

// text reads a string that ends with a null byte.
func (c *Call) text(address uint64) (string, error) {
	if address == 0 {
		return "", nil
	}
	var text []byte
	for len(text) < unix.PathMax {
		// The next page may not be mapped.
		chunk := make([]byte, 4096-address%4096)
		if err := c.read(address, chunk); err != nil {
			return "", err
		}
		before, _, ended := bytes.Cut(chunk, []byte{0})
		if text = append(text, before...); ended {
			break
		}
		address += uint64(len(chunk))
	}
	return string(text), nil
}

// read reads memory of the process.
func (c *Call) read(address uint64, to []byte) error {
	if len(to) == 0 {
		return nil
	}
	n, err := unix.ProcessVMReadv(c.TID, []unix.Iovec{iovec(to)}, remote(address, len(to)), 0)
	if err == nil && n != len(to) {
		err = unix.EFAULT
	}
	return os.NewSyscallError("process_vm_readv", err)
}

// write writes to memory of the process.
func (c *Call) write(address uint64, from []byte) error {
	if len(from) == 0 {
		return nil
	}
	n, err := unix.ProcessVMWritev(c.TID, []unix.Iovec{iovec(from)}, remote(address, len(from)), 0)
	if err == nil && n != len(from) {
		err = unix.EFAULT
	}
	return os.NewSyscallError("process_vm_writev", err)
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

func remote(address uint64, n int) []unix.RemoteIovec {
	return []unix.RemoteIovec{{Base: uintptr(address), Len: n}}
}
