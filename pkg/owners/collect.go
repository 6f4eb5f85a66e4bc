// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"golang.org/x/sys/unix"
)

// Source lists who holds sockets, process by process, in a cheaper way than by looking at every descriptor. If it has not
// looked at all processes, it returns ErrPartial.
type Source func(holds func(Descriptor) error) error

// ErrPartial says that a source may have left out processes. What it has listed counts.
var ErrPartial = errors.New("not all processes were looked at")

// Descriptor is a descriptor of a process that leads to a socket.
type Descriptor struct {
	Inode   uint32 // the socket's
	PID     int
	TID, FD int // as of a Process
	Command string
}

// FindWith is Find for a caller with such a source: only what that does not list is looked for among the processes.
// What is listed counts as found, whatever the query's scope.
func (p *Proc) FindWith(ctx context.Context, q Query, source Source) (map[uint32][]Process, error) {
	if len(q.Inodes) == 0 {
		return nil, ctx.Err()
	}
	w := newWalk(ctx, -1, q)
	err := p.listed(w, source)
	partial := errors.Is(err, ErrPartial)
	if partial {
		err = nil
	}
	found := w.result()
	whole := func(inode uint32) {
		if q.OnComplete != nil && err == nil && !partial && len(found[inode]) < MaxOwners {
			q.OnComplete(inode)
		}
	}
	for inode := range found {
		whole(inode)
	}
	if err != nil || w.left() == 0 {
		return found, err
	}
	rest := q
	wholeByProc := make(map[uint32]bool)
	rest.OnComplete = func(inode uint32) { wholeByProc[inode] = true }
	rest.Inodes = make(map[uint32]struct{}, w.left())
	for inode := range q.Inodes {
		if found[inode] == nil {
			rest.Inodes[inode] = struct{}{}
		}
	}
	more, restErr := p.Find(ctx, rest)
	for inode := range rest.Inodes {
		switch {
		case wholeByProc[inode] && q.OnComplete != nil:
			q.OnComplete(inode)
		case more[inode] == nil: // the source has not found any either
			whole(inode)
		}
	}
	maps.Copy(found, more)
	err = restErr
	if unseen, ok := errors.AsType[*UnseenError](err); ok {
		unseen.Asked = len(q.Inodes)
	}
	return found, err
}

// listed takes over what the source lists. That says nothing of containers, which each process's cgroup does.
func (p *Proc) listed(w *walk, source Source) error {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return fmt.Errorf("look for owners: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	var (
		me   Process
		with map[*holders]*holders
	)
	return source(func(h Descriptor) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if _, wanted := w.query.Inodes[h.Inode]; !wanted {
			return nil
		}
		if h.PID != me.PID {
			me, with = Process{PID: h.PID, Command: h.Command}, make(map[*holders]*holders)
			cgroup, err := read(fd, strconv.Itoa(h.PID)+"/cgroup", maxCgroup)
			if err := w.passOver(h.PID, err); err != nil {
				return err
			}
			me.ContainerID = containerID(string(cgroup))
		}
		w.hold(h.Inode, me, h.TID, h.FD, with)
		return nil
	})
}
