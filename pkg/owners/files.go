// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// This file uses system calls, because a search may read the links of a hundred thousand descriptors: package os costs half
// as much CPU again, and thirty times the garbage.

// eachName calls fn with each name in a directory.
func (w *walk) eachName(dir int, fn func(name string) error) error {
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		n, err := hostfs.Retry(func() (int, error) { return unix.ReadDirent(dir, w.dirent[:]) })
		if err != nil || n == 0 {
			return err
		}
		_, _, w.names = unix.ParseDirent(w.dirent[:n], -1, w.names[:0])
		for _, name := range w.names {
			if err := fn(name); err != nil {
				return err
			}
		}
	}
}

// readLink returns the number N of a link with the target "prefixN]".
func (w *walk) readLink(dir int, name, prefix string) (number uint32, ok bool, err error) {
	n, err := unix.Readlinkat(dir, name, w.link[:])
	if err != nil {
		return 0, false, err
	}
	number, ok = linkNumber(string(w.link[:n]), prefix)
	return number, ok, nil
}

// linkNumber returns the number N in "prefixN]". Inode numbers of sockets and namespaces have 32 bits.
func linkNumber(target, prefix string) (uint32, bool) {
	s, opened := strings.CutPrefix(target, prefix)
	s, closed := strings.CutSuffix(s, "]")
	if !opened || !closed {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// readProcess returns the process whose fd directory has the descriptor dir.
func readProcess(dir, pid int) (Process, error) {
	p := Process{PID: pid}
	comm, err := read(dir, "../comm", 64)
	if err != nil {
		return p, err
	}
	p.Command = strings.TrimSuffix(string(comm), "\n")
	cgroup, err := read(dir, "../cgroup", maxCgroup)
	if err != nil && !errors.Is(err, unix.ENOENT) { // no cgroups in this kernel, or the process has exited
		return p, err
	}
	p.ContainerID = containerID(string(cgroup))
	return p, nil
}

func open(dir int, name string) (int, error) {
	return hostfs.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// read returns up to limit bytes of a file.
func read(dir int, name string, limit int) ([]byte, error) {
	return hostfs.ReadStart(dir, name, make([]byte, limit))
}
