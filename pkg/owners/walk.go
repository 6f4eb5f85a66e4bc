// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// walk is one search of processes.
type walk struct {
	ctx    context.Context
	proc   int // the proc file system
	query  Query
	denied int // processes that the caller may not search
	// skippedTables means that a process has more descriptor tables than maxTables.
	skippedTables bool
	found         map[uint32]*ownerList
	dirent        [32 << 10]byte
	names         []string
	link          [40]byte // longer than "socket:[4294967295]"
}

// ownerList is a list of processes that several sockets may share.
type ownerList struct {
	list []Process
}

func newWalk(ctx context.Context, proc int, q Query) *walk {
	return &walk{ctx: ctx, proc: proc, query: q, found: make(map[uint32]*ownerList)}
}

// missing returns the number of sockets without an owner so far.
func (w *walk) missing() int { return len(w.query.Inodes) - len(w.found) }

// result returns the owners, sorted by PID.
func (w *walk) result() map[uint32][]Process {
	found := make(map[uint32][]Process, len(w.found))
	sorted := make(map[*ownerList]bool)
	for inode, h := range w.found {
		if !sorted[h] {
			sorted[h] = true
			slices.SortFunc(h.list, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
		}
		found[inode] = h.list
	}
	return found
}

// pids lists the processes.
func (w *walk) pids() (pids []int, err error) {
	if _, err := unix.Seek(w.proc, 0, unix.SEEK_SET); err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	err = w.eachName(w.proc, func(name string) error {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return pids, nil
}

// partition splits the processes: those in the query's network namespaces or in known, and the others.
func (w *walk) partition(pids []int, known map[int]struct{}) (inside, others []int, err error) {
	for _, pid := range pids {
		if _, ok := known[pid]; ok {
			inside = append(inside, pid)
			continue
		}
		netns, err := w.netns(pid)
		if err != nil {
			return nil, nil, err
		}
		if _, in := w.query.Netns[netns]; in {
			inside = append(inside, pid)
		} else if netns != 0 {
			others = append(others, pid)
		}
	}
	return inside, others, nil
}

// netns returns the inode number of a process's network namespace, 0 if the process has exited or may not be searched.
func (w *walk) netns(pid int) (uint64, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	inode, _, err := w.readLink(w.proc, strconv.Itoa(pid)+"/ns/net", "net:[")
	if errors.Is(err, unix.ENOENT) { // the main thread has exited; others may run
		inode, err = w.netnsOfThreads(pid)
	}
	if err != nil {
		return 0, w.ignoreExpected(pid, err)
	}
	return uint64(inode), nil
}

// searchProcess searches the main thread's descriptor table, and reports whether it has any of the sockets.
func (w *walk) searchProcess(pid int) (owns bool, err error) {
	return w.searchTable(pid, pid, strconv.Itoa(pid)+"/fd")
}

// searchTable searches the descriptor table of one thread, whose fd directory is at path.
func (w *walk) searchTable(pid, tid int, path string) (owns bool, err error) {
	dir, err := open(w.proc, path)
	if err != nil {
		return false, w.ignoreExpected(pid, err)
	}
	defer unix.Close(dir)
	var me Process
	with := make(map[*ownerList]*ownerList) // the lists with this process added, by the list without it
	err = w.eachName(dir, func(name string) error {
		inode, ok, err := w.readLink(dir, name, "socket:[")
		if errors.Is(err, unix.ENOENT) {
			return nil // the process has closed it
		}
		if err != nil || !ok {
			return err
		}
		if _, wanted := w.query.Inodes[inode]; !wanted {
			return nil
		}
		if !owns {
			if me, err = readProcess(dir, pid); err != nil {
				return err
			}
			owns = true
		}
		fd, err := strconv.Atoi(name)
		if err != nil {
			return fmt.Errorf("descriptor %q: %w", name, err)
		}
		w.addOwner(inode, me, tid, fd, with)
		return nil
	})
	if err != nil {
		err = w.ignoreExpected(pid, err)
	}
	return owns, err
}

// addOwner adds a process to the owners of a socket, up to MaxOwners. If several of its descriptors refer to the socket, the
// first one counts.
func (w *walk) addOwner(inode uint32, p Process, tid, fd int, with map[*ownerList]*ownerList) {
	var list []Process
	had := w.found[inode]
	if had != nil {
		list = had.list
	}
	if n := len(list); n == MaxOwners || n > 0 && list[n-1].PID == p.PID {
		return
	}
	if w.query.Descriptors {
		p.TID, p.FD = tid, fd
		w.found[inode] = &ownerList{append(list, p)}
		return
	}
	if with[had] == nil {
		with[had] = &ownerList{append(slices.Clip(list), p)}
	}
	w.found[inode] = with[had]
}

// ignoreExpected returns nil if err is nil or means that the process has exited or may not be searched.
func (w *walk) ignoreExpected(pid int, err error) error {
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		w.denied++
		return nil
	}
	return fmt.Errorf("search process %d: %w", pid, err)
}
