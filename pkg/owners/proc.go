// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Proc finds holders in a proc file system. Its methods may be called concurrently.
//
// It sees the descriptors of a process's main thread. If these do not lead to all of the sockets, it also sees those of
// threads with a table of their own (CLONE_FILES unshared), and of processes whose main thread has exited; that takes
// kcmp(2). It does not see a socket that is only in flight over a unix socket or registered with io_uring.
type Proc struct {
	dir  string
	init int // the process whose cgroup namespace and mounts show all cgroups

	mu        sync.Mutex
	elsewhere map[int]struct{} // processes that hold sockets of other namespaces than their own
}

// NewProc returns the finder for the proc file system at dir: /proc.
func NewProc(dir string) *Proc { return &Proc{dir: dir, init: 1, elsewhere: make(map[int]struct{})} }

// MaxOwners is how many holders of one socket are named. A server that forks a process for each connection and
// leaves all the others open in it would else take memory by the square of its processes.
const MaxOwners = 100

// Find returns the holders of each of the sockets that has any, by pid, MaxOwners at most. Lists may share memory:
// they are not to be changed.
//
// Processes that end meanwhile are passed over. Where some could not be looked at and might hold what was
// found no holder for, the error is an *UnseenError. Any error comes with what was found before.
func (p *Proc) Find(ctx context.Context, q Query) (map[uint32][]Process, error) {
	if len(q.Inodes) == 0 {
		return nil, ctx.Err()
	}
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return nil, fmt.Errorf("look for owners: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, q)
	err = p.walk(w)
	found := w.result()
	if err != nil {
		return found, fmt.Errorf("look for owners: %w", err)
	}
	p.reportWhole(w, found)
	if e := p.unseen(w); e != nil {
		return found, e
	}
	return found, nil
}

// reportWhole names the sockets all of whose holders were found. A process that may not be looked at may have a socket to
// which no holder was found. That it shares one with a holder is so unlikely that a process of that kind, of which most
// nodes have one, does not make all of them doubtful.
func (p *Proc) reportWhole(w *walk, found map[uint32][]Process) {
	if w.query.OnComplete == nil || w.tooMany || w.query.Scope == NetnsProcesses || !p.InInitialPIDNS() {
		return
	}
	for inode := range w.query.Inodes {
		if n := len(found[inode]); n == 0 && w.denied == 0 || n > 0 && w.query.Scope == AllProcesses && n < MaxOwners {
			w.query.OnComplete(inode)
		}
	}
}

// walk looks at the processes that the query's scope names.
func (p *Proc) walk(w *walk) error {
	pids, err := w.pids()
	if err != nil {
		return err
	}
	inside, others := pids, []int(nil)
	if w.query.Scope != AllProcesses {
		inside, others, err = w.sort(pids, p.known(pids))
	}
	for _, pid := range inside {
		if err == nil {
			_, err = w.visit(pid)
		}
	}
	for _, pid := range inside {
		if err == nil && (w.left() > 0 || w.query.Scope == AllProcesses && w.query.OnComplete != nil) {
			_, err = w.visitThreads(pid)
		}
	}
	if w.query.Scope != NetnsProcessesFirst {
		return err
	}
	for _, visit := range []func(pid int) (bool, error){w.visit, w.visitThreads} {
		for _, pid := range others {
			if err != nil || w.left() == 0 {
				return err
			}
			var holds bool
			if holds, err = visit(pid); holds {
				p.remember(pid)
			}
		}
	}
	return err
}

// maxElsewhere bounds how many processes are remembered.
const maxElsewhere = 64

func (p *Proc) remember(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.elsewhere) < maxElsewhere {
		p.elsewhere[pid] = struct{}{}
	}
}

// known returns those of the processes that were found to hold sockets of other namespaces, and forgets what
// has ended. A pid that another process has by now costs a look at that, no more.
func (p *Proc) known(pids []int) map[int]struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.elsewhere, func(pid int, _ struct{}) bool { return !slices.Contains(pids, pid) })
	return maps.Clone(p.elsewhere)
}

// First reports whether this process is in the machine's first pid namespace, where all processes are to be seen. It
// says so too where that cannot be told.
func (p *Proc) InInitialPIDNS() bool {
	own := hostfs.NamespaceInode(filepath.Join(p.dir, "self/ns/pid"))
	return own == 0 || own == hostfs.InitialPIDNS
}

// NetnsWithProcesses returns which of the network namespaces, told by their inodes, a process is in that can be seen and may
// be looked at. An error may come with what was found before.
func (p *Proc) NetnsWithProcesses(ctx context.Context, netns map[uint64]struct{}) (map[uint64]struct{}, error) {
	found := make(map[uint64]struct{})
	if len(netns) == 0 {
		return found, nil
	}
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return found, fmt.Errorf("look for processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, Query{Netns: netns})
	pids, err := w.pids()
	for _, pid := range pids {
		in, err := w.netns(pid)
		if err != nil {
			return found, fmt.Errorf("look for processes: %w", err)
		}
		if _, ok := netns[in]; ok {
			found[in] = struct{}{}
		}
	}
	return found, err
}

// unseen says what may be why sockets have no holder, nil if nothing may.
func (p *Proc) unseen(w *walk) *UnseenError {
	e := &UnseenError{Sockets: w.left(), Asked: len(w.query.Inodes), Denied: w.denied}
	switch {
	case e.Sockets == 0:
		return nil
	case e.Denied > 0:
		return e
	case w.query.Scope == NetnsProcesses:
		return nil // they may be held elsewhere
	}
	if p.InInitialPIDNS() {
		return nil
	}
	pids, err := w.pids()
	if err != nil {
		return nil
	}
	if inside, _, err := w.sort(pids, nil); err != nil || len(inside) > 0 {
		return nil
	}
	e.OtherPIDNS = true
	return e
}
