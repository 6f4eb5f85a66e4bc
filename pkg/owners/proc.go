// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Proc finds owners in a proc file system. Its methods may be called concurrently.
//
// It searches the descriptors of each process's main thread. For sockets without an owner after that, it also searches
// threads with their own descriptor table (CLONE_FILES unshared), and processes whose main thread has exited; that needs
// kcmp(2). It does not find a socket that is only in flight over a unix socket or registered with io_uring.
type Proc struct {
	dir  string
	init int // the process whose cgroup namespace and mounts show all cgroups

	mu        sync.Mutex
	outsiders map[int]struct{} // processes that own sockets of other network namespaces

	mounts atomic.Pointer[cgroupMounts] // as they were last read
}

// NewProc returns the Proc for the proc file system at dir, usually /proc.
func NewProc(dir string) *Proc { return &Proc{dir: dir, init: 1, outsiders: make(map[int]struct{})} }

// MaxOwners is how many owners of one socket are reported. In a server that forks for each connection, each process may
// inherit all earlier sockets: without a bound, memory would grow with the square of its processes.
const MaxOwners = 100

// Find returns up to MaxOwners owners of each socket that has any, sorted by PID. Lists may share memory, so the caller must
// not change them.
//
// Find skips processes that exit during the search. If processes that it could not search may own a socket without a known
// owner, the error is an *UnseenError. With any error it returns the owners that it has found.
func (p *Proc) Find(ctx context.Context, q Query) (map[uint32][]Process, error) {
	if len(q.Inodes) == 0 {
		return nil, ctx.Err()
	}
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return nil, fmt.Errorf("find owners: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, q)
	err = p.walk(w)
	found := w.result()
	if err != nil {
		return found, fmt.Errorf("find owners: %w", err)
	}
	p.reportComplete(w, found)
	if e := p.unseenError(w); e != nil {
		return found, e
	}
	return found, nil
}

// reportComplete calls OnComplete. A process that cannot be searched may own a socket without a known owner. It is unlikely to
// share a socket with a known owner, and most nodes have such a process: so it does not make the other sockets incomplete.
func (p *Proc) reportComplete(w *walk, found map[uint32][]Process) {
	if w.query.OnComplete == nil || w.skippedTables || w.query.Scope == NetnsProcesses || !p.InInitialPIDNS() {
		return
	}
	for inode := range w.query.Inodes {
		if n := len(found[inode]); n == 0 && w.denied == 0 || n > 0 && w.query.Scope == AllProcesses && n < MaxOwners {
			w.query.OnComplete(inode)
		}
	}
}

// walk searches the processes of the query's scope.
func (p *Proc) walk(w *walk) error {
	pids, err := w.pids()
	if err != nil {
		return err
	}
	inside, others := pids, []int(nil)
	if w.query.Scope != AllProcesses {
		inside, others, err = w.partition(pids, p.knownOutsiders(pids))
	}
	for _, pid := range inside {
		if err == nil {
			_, err = w.searchProcess(pid)
		}
	}
	for _, pid := range inside {
		if err == nil && (w.missing() > 0 || w.query.Scope == AllProcesses && w.query.OnComplete != nil) {
			_, err = w.searchThreads(pid)
		}
	}
	if w.query.Scope != NetnsProcessesFirst {
		return err
	}
	for _, visit := range []func(pid int) (bool, error){w.searchProcess, w.searchThreads} {
		for _, pid := range others {
			if err != nil || w.missing() == 0 {
				return err
			}
			var owns bool
			if owns, err = visit(pid); owns {
				p.rememberOutsider(pid)
			}
		}
	}
	return err
}

// maxOutsiders is how many processes are remembered.
const maxOutsiders = 64

func (p *Proc) rememberOutsider(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.outsiders) < maxOutsiders {
		p.outsiders[pid] = struct{}{}
	}
}

// knownOutsiders returns the remembered processes, and forgets the exited ones. If another process has the PID now, the
// search reads its descriptors in vain.
func (p *Proc) knownOutsiders(pids []int) map[int]struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.outsiders, func(pid int, _ struct{}) bool { return !slices.Contains(pids, pid) })
	return maps.Clone(p.outsiders)
}

// InInitialPIDNS reports whether this process is in the initial PID namespace, where all processes are visible. It returns true
// too if /proc does not show that.
func (p *Proc) InInitialPIDNS() bool {
	own := hostfs.NamespaceInode(filepath.Join(p.dir, "self/ns/pid"))
	return own == 0 || own == hostfs.InitialPIDNS
}

// NetnsWithProcesses returns which of the network namespaces with these inode numbers have a visible process. With an error it
// returns the ones found before.
func (p *Proc) NetnsWithProcesses(ctx context.Context, netns map[uint64]struct{}) (map[uint64]struct{}, error) {
	found := make(map[uint64]struct{})
	if len(netns) == 0 {
		return found, nil
	}
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return found, fmt.Errorf("find processes: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	w := newWalk(ctx, fd, Query{Netns: netns})
	pids, err := w.pids()
	for _, pid := range pids {
		in, err := w.netns(pid)
		if err != nil {
			return found, fmt.Errorf("find processes: %w", err)
		}
		if _, ok := netns[in]; ok {
			found[in] = struct{}{}
		}
	}
	return found, err
}

// unseenError returns why sockets may have owners that the search has not found, nil if they have none.
func (p *Proc) unseenError(w *walk) *UnseenError {
	e := &UnseenError{Sockets: w.missing(), Asked: len(w.query.Inodes), Denied: w.denied}
	switch {
	case e.Sockets == 0:
		return nil
	case e.Denied > 0:
		return e
	case w.query.Scope == NetnsProcesses:
		return nil // owners in other network namespaces are out of scope
	}
	if p.InInitialPIDNS() {
		return nil
	}
	pids, err := w.pids()
	if err != nil {
		return nil
	}
	if inside, _, err := w.partition(pids, nil); err != nil || len(inside) > 0 {
		return nil
	}
	e.OtherPIDNS = true
	return e
}
