// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"golang.org/x/sys/unix"
)

// Source calls report for the descriptors of processes that refer to sockets, process by process, and is cheaper than a
// search of /proc. If it has not covered all processes, it returns ErrPartial.
type Source func(report func(Descriptor) error) error

// ErrPartial means that a source may have left out processes. The reported descriptors are valid.
var ErrPartial = errors.New("not all processes were searched")

// Descriptor is a file descriptor of a process that refers to a socket.
type Descriptor struct {
	Inode   uint32 // the socket's
	PID     int
	TID, FD int // as of a Process
	Command string
}

// FindWith is Find with a source: it searches /proc only for the sockets that the source does not report. The source is not
// limited to the query's scope.
func (p *Proc) FindWith(ctx context.Context, q Query, source Source) (map[uint32][]Process, error) {
	if len(q.Inodes) == 0 {
		return nil, ctx.Err()
	}
	w := newWalk(ctx, -1, q)
	err := p.collect(w, source)
	partial := errors.Is(err, ErrPartial)
	if partial {
		err = nil
	}
	found := w.result()
	complete := func(inode uint32) {
		if q.OnComplete != nil && err == nil && !partial && len(found[inode]) < MaxOwners {
			q.OnComplete(inode)
		}
	}
	for inode := range found {
		complete(inode)
	}
	if err != nil || w.missing() == 0 {
		return found, err
	}
	rest := q
	completeByProc := make(map[uint32]bool)
	rest.OnComplete = func(inode uint32) { completeByProc[inode] = true }
	rest.Inodes = make(map[uint32]struct{}, w.missing())
	for inode := range q.Inodes {
		if found[inode] == nil {
			rest.Inodes[inode] = struct{}{}
		}
	}
	more, restErr := p.Find(ctx, rest)
	for inode := range rest.Inodes {
		switch {
		case completeByProc[inode] && q.OnComplete != nil:
			q.OnComplete(inode)
		case more[inode] == nil: // neither has the source found any
			complete(inode)
		}
	}
	maps.Copy(found, more)
	err = restErr
	if unseen, ok := errors.AsType[*UnseenError](err); ok {
		unseen.Asked = len(q.Inodes)
	}
	return found, err
}

// collect adds the owners that the source reports, with the containers of their cgroups.
func (p *Proc) collect(w *walk, source Source) error {
	fd, err := open(unix.AT_FDCWD, p.dir)
	if err != nil {
		return fmt.Errorf("find owners: open %s: %w", p.dir, err)
	}
	defer unix.Close(fd)
	var (
		me   Process
		with map[*ownerList]*ownerList
	)
	return source(func(h Descriptor) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if _, wanted := w.query.Inodes[h.Inode]; !wanted {
			return nil
		}
		if h.PID != me.PID {
			me, with = Process{PID: h.PID, Command: h.Command}, make(map[*ownerList]*ownerList)
			cgroup, err := read(fd, strconv.Itoa(h.PID)+"/cgroup", maxCgroup)
			if err := w.ignoreExpected(h.PID, err); err != nil {
				return err
			}
			me.ContainerID = containerID(string(cgroup))
		}
		w.addOwner(h.Inode, me, h.TID, h.FD, with)
		return nil
	})
}
