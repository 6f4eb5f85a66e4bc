// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// Place is where a process has a descriptor: FD in the table of thread TID, as in Process. A TID of 0 means that it is unknown.
type Place struct{ TID, FD int }

// Holding returns the sockets that a process holds, by inode number, each with one of its descriptors. sockets has the
// descriptor under which each was last seen. The tables of the process are searched only for the sockets that are no longer
// there. A process that has exited holds none. If the process may not be searched, Holding returns an error.
func (p *Proc) Holding(ctx context.Context, pid int, sockets map[uint32]Place) (map[uint32]Place, error) {
	proc, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return nil, fmt.Errorf("search descriptors: open %s: %w", p.dir, err)
	}
	defer unix.Close(proc)
	w := newWalk(ctx, proc, Query{Inodes: make(map[uint32]struct{}), Descriptors: true})
	held, err := w.holding(pid, sockets)
	if err == nil && w.denied > 0 {
		err = unix.EACCES
	}
	if err != nil {
		return nil, fmt.Errorf("search descriptors of process %d: %w", pid, err)
	}
	return held, nil
}

func (w *walk) holding(pid int, sockets map[uint32]Place) (map[uint32]Place, error) {
	held := make(map[uint32]Place, len(sockets))
	var path []byte
	for inode, d := range sockets {
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		if d.TID != 0 {
			path = fmt.Appendf(path[:0], "%d/task/%d/fd/%d", pid, d.TID, d.FD)
			now, ok, err := w.readLink(w.proc, string(path), "socket:[")
			if err = w.ignoreExpected(pid, err); err != nil {
				return nil, err
			}
			if ok && now == inode {
				held[inode] = d
				continue
			}
		}
		w.query.Inodes[inode] = struct{}{}
	}
	for _, search := range []func(pid int) (bool, error){w.searchProcess, w.searchThreads} {
		if w.missing() == 0 {
			break
		}
		if _, err := search(pid); err != nil {
			return nil, err
		}
	}
	for inode, found := range w.found {
		held[inode] = Place{TID: found.list[0].TID, FD: found.list[0].FD}
	}
	return held, nil
}

// OpenFiles is the number of open file descriptors of a process, and its limit on them (RLIMIT_NOFILE, the soft one).
type OpenFiles struct{ Open, Limit uint64 }

// OpenFiles reads the number of open file descriptors of the table of a process's main thread, and the limit.
func (p *Proc) OpenFiles(ctx context.Context, pid int) (f OpenFiles, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("count descriptors of process %d: %w", pid, err)
		}
	}()
	proc, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return f, err
	}
	defer unix.Close(proc)
	dir, err := open(proc, strconv.Itoa(pid))
	if err != nil {
		return f, err
	}
	defer unix.Close(dir)
	text, err := read(dir, "limits", 8<<10)
	if err != nil {
		return f, err
	}
	if f.Limit, err = parseFileLimit(text); err != nil {
		return f, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, "fd", &st, 0); err != nil {
		return f, err
	}
	if f.Open = uint64(st.Size); f.Open > 0 { // Linux 6.2 and later
		return f, nil
	}
	fds, err := open(dir, "fd")
	if err != nil {
		return f, err
	}
	defer unix.Close(fds)
	w := newWalk(ctx, proc, Query{})
	err = w.eachName(fds, func(name string) error {
		if name != "." && name != ".." {
			f.Open++
		}
		return nil
	})
	return f, err
}

// parseFileLimit returns the soft limit on open files in /proc/PID/limits; math.MaxUint64 if there is none.
func parseFileLimit(text []byte) (uint64, error) {
	for line := range bytes.Lines(text) {
		values, ok := bytes.CutPrefix(line, []byte("Max open files "))
		if !ok {
			continue
		}
		fields := bytes.Fields(values)
		if len(fields) == 0 {
			break
		}
		if string(fields[0]) == "unlimited" {
			return math.MaxUint64, nil
		}
		return strconv.ParseUint(string(fields[0]), 10, 64)
	}
	return 0, errors.New(`no limit on open files in "limits"`)
}

// StartTime returns the start time of a process in clock ticks after the boot, from the proc file system at dir. With the
// PID it identifies the process.
func StartTime(dir string, pid int) (uint64, error) {
	text, err := read(unix.AT_FDCWD, fmt.Sprintf("%s/%d/stat", dir, pid), 1<<10)
	if err == nil {
		var started uint64
		if started, err = parseStartTime(text); err == nil {
			return started, nil
		}
	}
	return 0, fmt.Errorf("read start time of process %d: %w", pid, err)
}

// parseStartTime returns field 22 of /proc/PID/stat (proc_pid_stat(5)).
func parseStartTime(stat []byte) (uint64, error) {
	// The name of the program is in parentheses, and may contain parentheses.
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") "))
	if fields := bytes.Fields(rest); ok && len(fields) > 19 {
		return strconv.ParseUint(string(fields[19]), 10, 64)
	}
	return 0, errors.New("stat is too short")
}

// StartTime is the function StartTime for this proc file system.
func (p *Proc) StartTime(pid int) (uint64, error) { return StartTime(p.dir, pid) }
