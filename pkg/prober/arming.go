// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"fmt"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// newArming returns a job that arms the sockets of the items.
func newArming(env *environment, items []*item) *job {
	j := &job{kind: arming, env: env, items: items}
	j.lookups(env.screen, func(i *item, err error) {
		if isGone(err) {
			i.end(Closed, NoObstacle, err)
			return
		}
		i.end(NotAsked, NoObstacle, err)
	})
	j.scans()
	j.each(j.inspect)
	j.writes = len(j.steps)
	j.steps = append(j.steps, step{items: items, run: j.write})
	j.each(j.arm)
	return j
}

// maxPriority is the largest ClassID that counts as a SO_PRIORITY if no net_cls hierarchy is mounted.
const maxPriority = 1<<16 - 1

// screen finishes the items whose peers cannot be asked, according to sock_diag.
func (e *environment) screen(i *item, s *inetdiag.Socket) {
	i.seen = true
	i.at = e.clock.Now() // after the answer: the baseline must not be dated too early
	q := i.asking.question
	switch {
	case s.State != q.State || s.Inode == 0:
		i.end(Closed, NoObstacle, nil)
	case !s.HasInfo:
		i.end(NotAsked, NoObstacle, errors.New("kernel sent no tcp_info"))
	case s.WQueue > 0:
		i.end(NotAsked, NoObstacle, ErrUnacked)
	case s.ClassID != e.class && (e.hasClass || s.ClassID > maxPriority):
		i.end(NotAsked, NetCls, fmt.Errorf("socket has the net_cls class %#x, own sockets have %#x", s.ClassID, e.class))
	}
	// The kernel's keepalive timer counts from the later of the two times.
	i.idle = min(s.Info.LastAckRecv, s.Info.LastDataRecv)
	i.baseline = baseline{ack: i.at.Add(-s.Info.LastAckRecv), received: s.Info.BytesReceived, segments: s.Info.SegsIn, probes: int(s.Info.Probes)}
	i.armed = newArmed(q)
	i.armed.inode = s.Inode
}

// fail finishes an item of an arming job with an error.
func (i *item) fail(err error) {
	obstacle := NoObstacle
	if e, ok := errors.AsType[*obstacleError](err); ok {
		obstacle = e.obstacle
	} else if errors.Is(err, errNoDescriptor) {
		obstacle = OwnerUnknown
	}
	i.end(NotAsked, obstacle, err)
}

// scans adds a step for each descriptor table that finds the sockets of all items in it.
func (j *job) scans() {
	wanted := make(map[table]map[uint32]struct{})
	var tables []table
	for _, i := range j.items {
		for n := range i.asking.question.Owners {
			o := &i.asking.question.Owners[n]
			if o.HasFD {
				continue
			}
			t := o.table()
			if wanted[t] == nil {
				wanted[t] = make(map[uint32]struct{})
				tables = append(tables, t)
			}
			wanted[t][i.asking.question.Inode] = struct{}{}
		}
	}
	for _, t := range tables {
		j.steps = append(j.steps, step{items: j.items, run: func() {
			if o := j.tables.table(t); o.err == nil {
				j.tables.find(t, o, wanted[t])
			}
		}})
	}
}

// inspect reads a socket's options.
func (j *job) inspect(i *item) {
	q := i.asking.question
	fd, err := j.duplicate(q.Owners, &i.armed)
	if err != nil {
		i.fail(err)
		return
	}
	defer closeDuplicate(fd)
	j.env.at("inspect", fd)
	blocks, err := lingers(fd)
	if err == nil && blocks {
		i.end(NotAsked, Linger, nil)
		return
	}
	if err == nil {
		err = i.armed.saved.read(fd)
	}
	if err != nil {
		i.fail(&obstacleError{Refused, err})
		return
	}
	if saved := &i.armed.saved; saved.asksAlready(q.ProbeAfter) {
		j.follow(i)
		return
	}
	i.baseline.probes = min(max(q.Count, 1), maxKeepCount)
}

// follow uses the application's own keepalive as the question.
func (j *job) follow(i *item) {
	saved := &i.armed.saved
	i.usesOwn = true
	i.done = true
	outstanding := i.baseline.probes
	i.baseline.probes = int(saved[keepCount])
	i.baseline.timeout = time.Duration(saved[userTimeout]) * time.Millisecond
	i.at = j.env.clock.Now()
	if idle := time.Duration(saved[keepIdle]) * time.Second; outstanding == 0 && i.at.Sub(i.baseline.ack) < idle+time.Second {
		i.result = Alive // otherwise there would be an unanswered probe
	}
}

// write writes the record of the sockets that are armed next.
func (j *job) write() {
	var all []armed
	now := j.env.clock.Now()
	for _, i := range j.items {
		if !i.done {
			q := i.asking.question
			idle := i.idle + now.Sub(i.at)
			if idle+lastProbeDelay > maxKeepSeconds*time.Second {
				i.end(NotAsked, NoObstacle, ErrTooIdle)
				continue
			}
			i.armed.armed = armedValues(q.Count, q.Interval, idle)
			i.until = now.Add(time.Duration(i.armed.armed[keepIdle])*time.Second - idle - probeMargin)
			all = append(all, i.armed)
		}
	}
	if len(all) == 0 {
		return
	}
	var err error
	j.record, err = j.env.records.write(all)
	if j.env.wrote(err); err == nil {
		return
	}
	for _, i := range j.items {
		if !i.done {
			i.end(NotAsked, NoObstacle, err)
		}
	}
}

// arm sets a socket's options.
func (j *job) arm(i *item) {
	if i.isLate(j.env) {
		i.done, i.late = true, true
		return
	}
	i.isArmed = true // already now: the thread may get stuck after it has set an option
	fd, err := j.duplicateAgain(&i.armed)
	if err != nil {
		i.isArmed = false
		if errors.Is(err, errNoDescriptor) { // its owner has closed or moved it since then
			i.end(Closed, NoObstacle, nil)
			return
		}
		i.fail(err)
		return
	}
	defer closeDuplicate(fd)
	j.env.at("arm", fd)
	var now values
	if err = now.read(fd); err == nil && now != i.armed.saved {
		i.isArmed, i.done, i.changed = false, true, true
		return
	}
	if err == nil && i.isLate(j.env) { // the thread may have been delayed
		i.isArmed, i.done, i.late = false, true, true
		return
	}
	restored := true
	if err == nil {
		restored, err = arm(fd, &i.armed.saved, &i.armed.armed)
	}
	if err != nil && restored { // otherwise it counts as asked, so that it is restored after its question
		i.isArmed = false
		i.fail(&obstacleError{Refused, err})
		return
	}
	i.at = j.env.clock.Now()
	i.done = true
	j.env.at("armed", fd)
}
