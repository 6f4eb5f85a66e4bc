// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Condition is what a process can do about its sockets.
type Condition struct {
	// Exited means that there is no such process any more; nothing else is set then.
	Exited bool
	Pause  Pause
	// FrozenTime is how long the process's cgroup has been frozen so far, in periods that have ended and the current
	// one. It grows only while the cgroup is frozen, and is 0 if HasFrozenTime is false: the kernel does not count it
	// (before 6.18, or version 1 of cgroups). It is comparable with an earlier one of the same Cgroup only.
	FrozenTime    time.Duration
	HasFrozenTime bool
	Cgroup        uint64 // inode of the cgroup that FrozenTime is of
	Sigpipe       Sigpipe
	Err           error // why Pause or Sigpipe is unknown
}

// Pause says whether a process runs.
type Pause uint8

// The values of Pause.
const (
	PauseUnknown Pause = iota // cannot be told: Condition.Err says why
	Running
	Frozen  // by a cgroup
	Stopped // by SIGSTOP or a tracer, all threads of it
)

// Sigpipe says what SIGPIPE does to a process, which a write to a socket raises after the peer has reset it.
type Sigpipe uint8

// The values of Sigpipe.
const (
	SigpipeUnknown Sigpipe = iota // cannot be told: Condition.Err says why
	SigpipeIgnored                // or handled
	SigpipeKills
)

// Conditions returns the condition of each process. Each cgroup is read once. If ctx is done or /proc cannot be
// opened, it returns an error with the conditions found before.
//
// /proc/PID/cgroup names cgroups relative to the reader's cgroup namespace. If that is not the machine's first one,
// Conditions enters the namespace of process 1 on a thread of its own (needs CAP_SYS_ADMIN), and looks for the cgroup
// file systems in its own mount namespace and in that of process 1 (needs CAP_SYS_PTRACE). Where neither helps, Pause
// is unknown unless the process is stopped.
func (p *Proc) Conditions(ctx context.Context, pids []int) (map[int]Condition, error) {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return nil, fmt.Errorf("read conditions of processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	found := make(map[int]Condition, len(pids))
	inFirstCgroupNS(p.dir, p.init, func() {
		cgroups := newCgroups(p.dir, p.init)
		for _, pid := range pids {
			if _, known := found[pid]; known {
				continue
			}
			if err = ctx.Err(); err != nil {
				return
			}
			found[pid] = condition(fd, pid, cgroups)
		}
	})
	return found, err
}

// maxStatus bounds how much of /proc/PID/status is read: some 60 lines, of which the groups can be long.
const maxStatus = 64 << 10

// condition reads the condition of one process.
func condition(proc, pid int, cgroups *cgroups) Condition {
	c, err := readCondition(proc, pid, cgroups)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return Condition{Exited: true}
	case err != nil:
		c.Err = fmt.Errorf("read condition of process %d: %w", pid, err)
	}
	return c
}

func readCondition(proc, pid int, cgroups *cgroups) (c Condition, err error) {
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
	stopped, exited, err := isStopped(dir, status)
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
		err = &notTold{err}
	}
	return c, err
}

// notTold is an error about a cgroup, which does not mean that the process has exited, even where it is ENOENT.
type notTold struct{ err error }

func (e *notTold) Error() string { return "whether it is frozen cannot be told: " + e.err.Error() }

// isStopped reports whether all threads of a process are stopped, and whether all have exited.
func isStopped(dir int, main status) (stopped, exited bool, err error) {
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
	w := newWalk(context.Background(), -1, Query{})
	stopped, exited = true, true
	err = w.each(task, func(name string) error {
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
