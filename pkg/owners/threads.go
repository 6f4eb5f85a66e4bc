// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxTables is how many descriptor tables of one process are searched.
const maxTables = 64

// searchThreads searches the descriptor tables of a process except for the main thread's, and reports whether they have any
// of the sockets.
func (w *walk) searchThreads(pid int) (owns bool, err error) {
	tids, err := w.threads(pid)
	if err != nil {
		return false, w.ignoreExpected(pid, err)
	}
	tables := []int{pid} // one thread of each table
	for _, tid := range tids {
		if len(tables) == maxTables {
			w.skippedTables = true
			break
		}
		if slices.ContainsFunc(tables, func(other int) bool { return sharesTable(other, tid) }) {
			continue
		}
		tables = append(tables, tid)
		found, err := w.searchTable(pid, tid, fmt.Sprintf("%d/task/%d/fd", pid, tid))
		if err != nil {
			return owns, err
		}
		owns = owns || found
	}
	return owns, nil
}

// threads lists the threads of a process except its main thread.
func (w *walk) threads(pid int) (tids []int, err error) {
	dir, err := open(w.proc, strconv.Itoa(pid)+"/task")
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	err = w.eachName(dir, func(name string) error {
		if tid, err := strconv.Atoi(name); err == nil && tid != pid {
			tids = append(tids, tid)
		}
		return nil
	})
	return tids, err
}

// netnsOfThreads returns the network namespace's inode number of the first thread that has not exited.
func (w *walk) netnsOfThreads(pid int) (uint32, error) {
	tids, err := w.threads(pid)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		inode, _, err := w.readLink(w.proc, fmt.Sprintf("%d/task/%d/ns/net", pid, tid), "net:[")
		if !errors.Is(err, unix.ENOENT) {
			return inode, err
		}
	}
	return 0, unix.ENOENT
}

// kcmpFiles is KCMP_FILES of include/uapi/linux/kcmp.h: compare descriptor tables.
const kcmpFiles = 2

// sharesTable reports whether two threads share a descriptor table. It returns true too on a kernel without kcmp(2), and for a
// thread that has exited. So most threads cost one system call, and no table is searched twice.
func sharesTable(tid, other int) bool {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(tid), uintptr(other), kcmpFiles, 0, 0, 0)
	return errno != 0 || order == 0
}
