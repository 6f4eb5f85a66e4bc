// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

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

// walk is one look at processes, with what it has found so far.
type walk struct {
	ctx    context.Context
	proc   int // the proc file system
	query  Query
	denied int // processes that may not be looked at
	// tooMany is set once a process had more descriptor tables than are looked at.
	tooMany bool
	found   map[uint32]*holders
	dirent  [32 << 10]byte
	names   []string
	link    [40]byte // longer than what is looked for: "socket:[4294967295]"
}

// holders is a list of processes that some sockets have in common.
type holders struct {
	list []Process
}

func newWalk(ctx context.Context, proc int, q Query) *walk {
	return &walk{ctx: ctx, proc: proc, query: q, found: make(map[uint32]*holders)}
}

// left is how many sockets have no holder yet.
func (w *walk) left() int { return len(w.query.Inodes) - len(w.found) }

// result is what was found.
func (w *walk) result() map[uint32][]Process {
	found := make(map[uint32][]Process, len(w.found))
	sorted := make(map[*holders]bool)
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
	err = w.each(w.proc, func(name string) error {
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

// sort tells the processes that are in the query's network namespaces, or known to matter, from the others.
func (w *walk) sort(pids []int, known map[int]struct{}) (inside, others []int, err error) {
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

// netns returns the inode of the network namespace that a process is in, 0 if it has ended or may not be looked at.
func (w *walk) netns(pid int) (uint64, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	inode, _, err := w.follow(w.proc, strconv.Itoa(pid)+"/ns/net", "net:[")
	if errors.Is(err, unix.ENOENT) { // the main thread has exited, and others may run
		inode, err = w.netnsOfThreads(pid)
	}
	if err != nil {
		return 0, w.passOver(pid, err)
	}
	return uint64(inode), nil
}

// visit looks at what a process holds, and reports whether any of the sockets is among that.
func (w *walk) visit(pid int) (holds bool, err error) {
	return w.visitTable(pid, pid, strconv.Itoa(pid)+"/fd")
}

// visitTable looks at the descriptor table of one thread, which the directory lists.
func (w *walk) visitTable(pid, tid int, path string) (holds bool, err error) {
	dir, err := open(w.proc, path)
	if err != nil {
		return false, w.passOver(pid, err)
	}
	defer unix.Close(dir)
	var me Process
	with := make(map[*holders]*holders) // what lists become with this process
	err = w.each(dir, func(name string) error {
		inode, ok, err := w.follow(dir, name, "socket:[")
		if errors.Is(err, unix.ENOENT) {
			return nil // closed meanwhile
		}
		if err != nil || !ok {
			return err
		}
		if _, wanted := w.query.Inodes[inode]; !wanted {
			return nil
		}
		if !holds {
			if me, err = describe(dir, pid); err != nil {
				return err
			}
			holds = true
		}
		fd, err := strconv.Atoi(name)
		if err != nil {
			return fmt.Errorf("descriptor %q: %w", name, err)
		}
		w.hold(inode, me, tid, fd, with)
		return nil
	})
	if err != nil {
		err = w.passOver(pid, err)
	}
	return holds, err
}

// hold adds a process to the holders of a socket, unless there are enough. It may have the socket under several
// descriptors, of which the first counts.
func (w *walk) hold(inode uint32, p Process, tid, fd int, with map[*holders]*holders) {
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
		w.found[inode] = &holders{append(list, p)}
		return
	}
	if with[had] == nil {
		with[had] = &holders{append(slices.Clip(list), p)}
	}
	w.found[inode] = with[had]
}

// passOver returns nil for no error, and for one that only says that a process has ended, or may not be looked at.
func (w *walk) passOver(pid int, err error) error {
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		w.denied++
		return nil
	}
	return fmt.Errorf("look at process %d: %w", pid, err)
}
