// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Condition has the facts of a process that decide whether it can act on its sockets.
type Condition struct {
	// Exited means that the process does not exist any more; all other fields are zero then.
	Exited bool
	Pause  Pause
	// FrozenTime is the total time for which the process's cgroup has been frozen. It is 0 if HasFrozenTime is false:
	// the kernel does not count it (before Linux 6.18, or version 1 of cgroups). Compare it only with an earlier one of the
	// same Cgroup.
	FrozenTime    time.Duration
	HasFrozenTime bool
	Cgroup        uint64 // inode of the cgroup that FrozenTime is of
	Sigpipe       Sigpipe
	Err           error // why Pause or Sigpipe is unknown
}

// Pause is whether a process runs.
type Pause uint8

// The values of Pause.
const (
	PauseUnknown Pause = iota // Condition.Err has the reason
	Running
	Frozen  // by a cgroup
	Stopped // all threads, by SIGSTOP or a tracer
)

// Sigpipe is the effect of SIGPIPE, which a write to a socket raises after the peer has reset it.
type Sigpipe uint8

// The values of Sigpipe.
const (
	SigpipeUnknown Sigpipe = iota // Condition.Err has the reason
	SigpipeIgnored                // or handled
	SigpipeKills
)

// Conditions returns the condition of each process. It reads each cgroup once, and the list of mounts where it does not find
// one. If ctx is done or /proc cannot be opened, it returns an error and the conditions that it has read.
//
// /proc/PID/cgroup names cgroups relative to the reader's cgroup namespace. If that is not the initial one, Conditions enters
// the cgroup namespace of process 1 on another thread (needs CAP_SYS_ADMIN), and looks for the cgroup file systems in its
// own mount namespace and in that of process 1 (needs CAP_SYS_PTRACE). If neither succeeds, Pause is unknown unless the
// process is stopped.
func (p *Proc) Conditions(ctx context.Context, pids []int) (map[int]Condition, error) {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return nil, fmt.Errorf("read conditions of processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	found := make(map[int]Condition, len(pids))
	inInitialCgroupNS(p.dir, p.init, func() {
		cgroups := newCgroups(p.dir, p.init, &p.mounts)
		for _, pid := range pids {
			if _, known := found[pid]; known {
				continue
			}
			if err = ctx.Err(); err != nil {
				return
			}
			found[pid] = condition(ctx, fd, pid, cgroups)
		}
	})
	return found, err
}

// maxStatus is how many bytes of /proc/PID/status are read: about 60 lines, of which the list of groups can be long.
const maxStatus = 64 << 10

// condition reads the condition of one process.
func condition(ctx context.Context, proc, pid int, cgroups *cgroups) Condition {
	c, err := readCondition(ctx, proc, pid, cgroups)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return Condition{Exited: true}
	case err != nil:
		c.Err = fmt.Errorf("read condition of process %d: %w", pid, err)
	}
	return c
}

func readCondition(ctx context.Context, proc, pid int, cgroups *cgroups) (c Condition, err error) {
	dir, err := open(proc, strconv.Itoa(pid))
	if err != nil {
		return c, err
	}
	defer unix.Close(dir)
	text, err := read(dir, "status", maxStatus)
	if err != nil {
		return c, err
	}
	status, err := parseStatus(text)
	if err != nil {
		return c, err
	}
	c.Sigpipe = status.sigpipe()
	stopped, exited, err := isStopped(ctx, dir, status)
	if err != nil || exited {
		return Condition{Exited: exited}, err
	}
	text, err = read(dir, "cgroup", maxCgroup)
	if errors.Is(err, unix.ENOENT) { // the kernel has no cgroups, or the process has exited
		if _, err := read(dir, "status", 1); err != nil {
			return c, err
		}
		text, err = nil, nil
	}
	var f freezer
	if err == nil {
		f, err = cgroups.freezer(parseCgroup(string(text)))
	}
	c.FrozenTime, c.HasFrozenTime, c.Cgroup = f.time, f.hasTime, f.inode
	switch {
	case f.frozen:
		c.Pause, err = Frozen, nil
	case stopped:
		c.Pause, err = Stopped, nil
	case err == nil:
		c.Pause = Running
	default:
		err = &pauseError{err}
	}
	return c, err
}

// pauseError is an error about a cgroup. It does not unwrap: ENOENT of a cgroup does not mean that the process has exited.
type pauseError struct{ err error }

func (e *pauseError) Error() string { return "cannot find out whether it is frozen: " + e.err.Error() }

// isStopped reports whether all threads of a process are stopped, and whether all have exited.
func isStopped(ctx context.Context, dir int, main status) (stopped, exited bool, err error) {
	if !main.stopped() && !main.exited() {
		return false, false, nil
	}
	if main.threads <= 1 {
		return main.stopped(), main.exited(), nil
	}
	task, err := open(dir, "task")
	if err != nil {
		return false, false, err
	}
	defer unix.Close(task)
	w := newWalk(ctx, -1, Query{})
	stopped, exited = true, true
	err = w.eachName(task, func(name string) error {
		text, err := read(task, name+"/status", maxStatus)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			return nil // the thread has exited
		}
		if err != nil {
			return err
		}
		thread, err := parseStatus(text)
		if err != nil {
			return err
		}
		stopped = stopped && (thread.stopped() || thread.exited())
		exited = exited && thread.exited()
		return nil
	})
	return stopped && !exited, exited, err
}
