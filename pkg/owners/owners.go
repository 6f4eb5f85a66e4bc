// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package owners finds the processes that hold sockets.
package owners

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process that holds a socket.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // /proc/PID/comm: at most 15 bytes, chosen by the process itself
}

// Find looks for the holders of sockets by their inode numbers, in one walk over all file descriptors of
// all processes in the proc file system given. A socket that several processes share has them all; one
// that is only in flight over a unix socket has none.
//
// It needs CAP_SYS_PTRACE for processes of other users, and sees only those of the pid namespace that proc
// is mounted for. Processes that end meanwhile, or may not be looked at, are passed over.
func Find(proc string, inodes map[uint32]bool) (map[uint32][]Process, error) {
	found := make(map[uint32][]Process)
	if len(inodes) == 0 {
		return found, nil
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return found, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		held, err := sockets(filepath.Join(proc, e.Name(), "fd"), inodes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.ESRCH) {
			return found, fmt.Errorf("list what process %d holds: %w", pid, err)
		}
		if len(held) == 0 {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(proc, e.Name(), "comm"))
		if err != nil {
			continue // it has just ended
		}
		p := Process{PID: pid, Command: strings.TrimSuffix(string(comm), "\n")}
		for inode := range held {
			found[inode] = append(found[inode], p)
		}
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	}
	return found, nil
}

// sockets returns which of the inodes the descriptors in a /proc/PID/fd lead to.
func sockets(dir string, inodes map[uint32]bool) (map[uint32]bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	held := make(map[uint32]bool)
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := socketInode(target); ok && inodes[inode] {
			held[inode] = true
		}
	}
	return held, err
}

// socketInode takes the number from "socket:[N]".
func socketInode(target string) (uint32, bool) {
	s, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 32)
	return uint32(n), err == nil
}
