// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

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

// Access says what the caller may do with the processes that it sees, found by trying with each of them.
type Access struct {
	Processes int    // tried, without the caller
	List      Denial // listing the descriptors, to find owners
	Receive   Denial // receiving a descriptor by pidfd_getfd(2), to ask a peer
}

// Denial is a right that is refused for some processes.
type Denial struct {
	Count int
	First Process // the first one
	Err   error   // of that; its errno says more: ENOSYS is a kernel that cannot do it at all
}

func (d *Denial) add(p Process, err error) {
	if d.Count++; d.Count == 1 {
		d.First, d.Err = p, err
	}
}

// maxTried bounds how many processes TryAccess tries.
const maxTried = 4096

// TryAccess finds out what the caller may do with processes. It changes nothing: it reads one link of each process, and asks
// for a descriptor that none has, which the kernel refuses with EBADF once it has checked the caller's rights.
func (p *Proc) TryAccess(ctx context.Context) (a Access, err error) {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return a, fmt.Errorf("try processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, Query{})
	pids, err := w.pids()
	if err != nil {
		return a, fmt.Errorf("try processes: %w", err)
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

// errEnough ends a list.
var errEnough = errors.New("enough")

// tryList lists the descriptors of a process up to the first, which it follows.
func (w *walk) tryList(pid int) error {
	dir, err := open(w.proc, strconv.Itoa(pid)+"/fd")
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = w.each(dir, func(name string) error {
		if _, err := strconv.Atoi(name); err != nil {
			return nil
		}
		if _, _, err := w.follow(dir, name, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// tryReceive asks for a descriptor that no process has.
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
