// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Access has the caller's rights to the visible processes.
type Access struct {
	Processes int    // tried, without the caller's own
	List      Denial // listing descriptors, to find owners
	Receive   Denial // receiving a descriptor by pidfd_getfd(2), to probe a peer
}

// Denial is a right that is refused for some processes.
type Denial struct {
	Count int
	First Process // the first one
	Err   error   // of First; ENOSYS means that the kernel lacks the system call
}

func (d *Denial) add(p Process, err error) {
	if d.Count++; d.Count == 1 {
		d.First, d.Err = p, err
	}
}

// maxTried bounds the number of processes that TryAccess tries.
const maxTried = 4096

// TryAccess finds out the caller's rights to each process. It has no effect on them: it reads one link of each process, and
// requests a descriptor that no process has. The kernel checks the caller's rights before it returns EBADF for that.
func (p *Proc) TryAccess(ctx context.Context) (a Access, err error) {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return a, fmt.Errorf("try access to processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, Query{})
	pids, err := w.pids()
	if err != nil {
		return a, fmt.Errorf("try access to processes: %w", err)
	}
	for _, pid := range pids {
		if a.Processes == maxTried {
			break
		}
		if err := ctx.Err(); err != nil {
			return a, err
		}
		if pid == os.Getpid() {
			continue
		}
		list, receive := w.tryList(pid), tryReceive(pid)
		if hasExited(list) || hasExited(receive) {
			continue
		}
		a.Processes++
		if list == nil && receive == nil {
			continue
		}
		comm, _ := read(fd, strconv.Itoa(pid)+"/comm", 64)
		me := Process{PID: pid, Command: strings.TrimSuffix(string(comm), "\n")}
		if list != nil {
			a.List.add(me, list)
		}
		if receive != nil {
			a.Receive.add(me, receive)
		}
	}
	return a, nil
}

func hasExited(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

// errStop ends a loop over names.
var errStop = errors.New("stop")

// tryList lists the descriptors of a process up to the first one, whose link it reads.
func (w *walk) tryList(pid int) error {
	dir, err := open(w.proc, strconv.Itoa(pid)+"/fd")
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = w.eachName(dir, func(name string) error {
		if _, err := strconv.Atoi(name); err != nil {
			return nil
		}
		if _, _, err := w.readLink(dir, name, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return errStop
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// tryReceive requests a descriptor that no process has.
func tryReceive(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const none = 1<<31 - 1
	got, err := unix.PidfdGetfd(fd, none, 0)
	if err == nil {
		return unix.Close(got)
	}
	if errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}
