// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// newLookup returns a job that looks up the sockets of the items, and restores those whose question has a result.
func newLookup(env *environment, items []*item) *job {
	j := &job{kind: lookingUp, env: env, items: items}
	j.lookups(func(i *item, s *inetdiag.Socket) {
		if s.State == inetdiag.Close { // the kernel is removing it: how it ended, only a duplicate shows
			i.postponeOnceGone()
			return
		}
		i.seen = true
		i.result, i.err = i.baseline.decide(s, i.at)
		if i.result == 0 && i.withdraw {
			i.result = Cancelled
		}
		if i.result == 0 && i.overdue {
			i.result, i.err = NotAsked, ErrNoProbe
		}
		i.done = i.result == 0
		if i.result != 0 && i.isArmed {
			i.expect(s, i.at)
		}
		if i.result == Alive {
			i.at = i.at.Add(-s.Info.LastAckRecv)
		}
	}, func(i *item, err error) {
		switch {
		case isGone(err):
			i.postponeOnceGone()
		case i.withdraw:
			i.result = Cancelled
		case i.overdue:
			i.result, i.err = NotAsked, err
		default:
			i.done = true // try again later
		}
	})
	j.each(j.finish)
	return j
}

// finish restores the options of a socket whose question has a result, and determines how it was closed if it was.
func (j *job) finish(i *item) {
	q := i.asking.question
	if !i.isArmed && i.result != 0 {
		i.done = true
		return
	}
	if i.isLate(j.env) {
		i.result, i.err = 0, nil
		i.done, i.postponed = true, true
		return
	}
	fd, err := j.duplicateAgain(&i.armed)
	if errors.Is(err, errNoDescriptor) {
		fd, err = j.duplicate(withoutFDs(q.Owners), &i.armed)
	}
	if err != nil {
		if i.result == 0 {
			i.result = Closed
		}
		i.err, i.unreached = errors.Join(i.err, err), !errors.Is(err, errNoDescriptor)
		i.done = true
		return
	}
	defer closeDuplicate(fd)
	j.env.at("restore", fd)
	if i.result == 0 {
		i.result = Closed
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			i.result = i.baseline.closedBy(info)
		}
	}
	if i.isArmed {
		i.refused = restore(fd, &i.armed.saved, &i.armed.armed)
		i.isArmed = i.refused != nil // it is tried again later
	}
	i.done = true
}

// withoutFDs returns the owners without descriptors.
func withoutFDs(all []Owner) []Owner {
	some := make([]Owner, len(all))
	for n, o := range all {
		o.HasFD = false
		some[n] = o
	}
	return some
}

// newRestoring returns a job that restores sockets from their records, at the recorded descriptors.
func newRestoring(env *environment, items []*item) *job {
	j := &job{kind: restoring, env: env, items: items}
	j.quiet()
	j.each(func(i *item) {
		i.done = true
		if i.postponed = i.isLate(env); i.postponed {
			return
		}
		fd, err := j.duplicateAgain(&i.armed)
		if errors.Is(err, errNoDescriptor) {
			fd, err = j.duplicate([]Owner{{PID: i.armed.table.pid, TID: i.armed.table.tid}}, &i.armed)
		}
		j.put(i, fd, err)
	})
	return j
}

// quiet adds steps that postpone items whose owner may be about to close the socket. The others proceed, even if their lookup
// fails.
func (j *job) quiet() {
	j.lookups(func(i *item, s *inetdiag.Socket) {
		i.seen, i.gone = true, s.Inode == 0 // its owner has closed it
		i.expect(s, i.at)
	}, func(i *item, err error) {
		if errors.Is(err, inetdiag.ErrGone) || netns.IsGone(err) && len(i.netns().Paths) > 0 {
			i.postponeOnceGone()
		}
	})
}

// put restores a socket through a duplicate, and closes it.
func (j *job) put(i *item, fd int, err error) {
	if i.err = err; err != nil {
		i.unreached = !errors.Is(err, errNoDescriptor)
		return
	}
	defer closeDuplicate(fd)
	j.env.at("restore", fd)
	i.refused = restore(fd, &i.armed.saved, &i.armed.armed)
	i.isArmed = i.refused != nil // it is tried again later
}

// newSearching returns a job that searches all processes for sockets that have moved, and restores them.
func newSearching(ctx context.Context, env *environment, items []*item) *job {
	j := &job{kind: searching, env: env, items: items}
	var found map[uint32][]owners.Process
	j.steps = append(j.steps, step{items: items, run: func() {
		q := owners.Query{Inodes: make(map[uint32]struct{}), Netns: make(map[uint64]struct{}), Scope: owners.NetnsProcessesFirst}
		for _, i := range items {
			q.Inodes[i.armed.inode] = struct{}{}
			q.Netns[i.armed.netns.Identity.Inode] = struct{}{}
		}
		found, _ = env.procs.Find(ctx, q) // unreadable processes are skipped
	}})
	j.quiet()
	j.each(func(i *item) {
		i.done = true
		if i.postponed = i.isLate(env); i.postponed {
			return
		}
		var all []Owner
		for _, p := range found[i.armed.inode] {
			all = append(all, Owner{PID: p.PID})
		}
		fd, err := j.duplicate(all, &i.armed)
		j.put(i, fd, err)
	})
	return j
}

// newTidying returns a job that removes records.
func newTidying(env *environment, names []string) *job {
	j := &job{kind: tidying, env: env}
	j.steps = append(j.steps, step{run: func() {
		for _, name := range names {
			_ = env.records.remove(name) // if it remains, the next Prober reads it
		}
	}})
	return j
}
