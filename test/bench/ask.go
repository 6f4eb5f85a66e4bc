// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/prober"
)

// AskRow is the cost of one way to ask peers: arm the socket, look for the answer, restore the socket.
type AskRow struct {
	Way        string  `json:"way"`
	Namespaces int     `json:"namespaces"`
	Sockets    int     `json:"sockets"` // in each round
	Best       float64 `json:"bestCPUMicrosecondsPerSocket"`
	Worst      float64 `json:"worstCPUMicrosecondsPerSocket"`
	Ratio      float64 `json:"ratioToProber"` // of the best rounds
}

// Ask is the cost of asking peers, and the use of CPU with the default budget when there is always a peer to ask.
type Ask struct {
	Rows    []AskRow `json:"rows"`
	Budget  float64  `json:"budgetCores"`
	Used    float64  `json:"usedCores"`        // by the prober's own account
	Process float64  `json:"usedProcessCores"` // by the whole process, which asks again as well
	Seconds float64  `json:"seconds"`
	Answers int      `json:"answers"` // in that time
}

// The ways to ask. The ones with the prober have a target, and the others are compared with known descriptors.
const (
	knownName    = "pkg/prober, descriptors known"
	searchedName = "pkg/prober, descriptors searched"
	scriptName   = "a Python script with pidfd_getfd, one process for all, descriptors known"
	scriptsName  = "the same script, once a socket"
	ssAskName    = "nsenter ss -tnoi, once a socket: a look, without a question"
)

// askTarget is the target for the CPU time of a question, in microseconds.
const askTarget = 120

// askedIdle is the idle time of the sockets before they are asked about: after one second the first probe is sent at once.
const askedIdle = 1500 * time.Millisecond

// sampled is the number of sockets for the ways that start one process per socket.
const sampled = 8

// subject is a socket to ask about, with its descriptor.
type subject struct {
	netns  finder.Netns
	socket inetdiag.Socket
	pid    int
	fd     int
}

// crowd is the sockets to ask about in several network namespaces.
type crowd struct {
	namespaces int
	subjects   []subject
}

// measureAsk asks about many sockets in one network namespace, and about one in each of many.
func measureAsk(ctx context.Context, o options) (_ *Ask, err error) {
	rounds, namespaces, many := 5, 252, 512
	if o.short {
		rounds, namespaces, many = 2, 8, 64
	}
	nd, err := newNetnsSet("ask-", 1+namespaces, false, 2*many)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	if err := errors.Join(nd.fill(0, 1, sockets{Shut: many}), nd.fill(1, 1+namespaces, sockets{Shut: 1})); err != nil {
		return nil, err
	}
	one, err := nd.crowd(nd.targets[:1])
	if err != nil {
		return nil, err
	}
	each, err := nd.crowd(nd.targets[1:])
	if err != nil {
		return nil, err
	}
	a := &Ask{}
	for _, c := range []*crowd{one, each} {
		costs := make(map[string][]cost)
		for round := range rounds {
			progress("asking %d peers in %d namespaces, round %d of %d", len(c.subjects), c.namespaces, round+1, rounds)
			for _, w := range askWays() {
				if err := pause(ctx, askedIdle); err != nil {
					return nil, err
				}
				runtime.GC() // collect the garbage of the previous way
				done, err := w.ask(ctx, c)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", w.name, err)
				}
				costs[w.name] = append(costs[w.name], done)
			}
		}
		a.Rows = append(a.Rows, askRows(c.namespaces, costs)...)
	}
	return a, errors.Join(a.measureBudget(ctx, o, slices.Concat(one.subjects, each.subjects)), restored(nd.targets))
}

// restored returns an error if a socket still has a keepalive timer, which none has by default.
func restored(targets []finder.Netns) error {
	const keepaliveTimer = 2
	armed := 0
	for _, t := range targets {
		err := dump(t, inetdiag.Filter{States: inetdiag.AllStates}, func(s *inetdiag.Socket) {
			if s.Timer == keepaliveTimer {
				armed++
			}
		})
		if err != nil {
			return err
		}
	}
	if armed > 0 {
		return fmt.Errorf("%d sockets still have keepalive on", armed)
	}
	return nil
}

// askRows compares the ways.
func askRows(namespaces int, costs map[string][]cost) []AskRow {
	var rows []AskRow
	for _, w := range askWays() {
		var all []float64
		for _, c := range costs[w.name] {
			all = append(all, microseconds(c.cpu)/float64(c.sockets))
		}
		rows = append(rows, AskRow{
			Way: w.name, Namespaces: namespaces, Sockets: costs[w.name][0].sockets, Best: slices.Min(all), Worst: slices.Max(all),
		})
	}
	for i := range rows {
		rows[i].Ratio = rows[i].Best / rows[0].Best
	}
	return rows
}

// crowd finds the sockets in CLOSE_WAIT and their descriptors.
func (n *netnsSet) crowd(targets []finder.Netns) (*crowd, error) {
	c := &crowd{namespaces: len(targets)}
	for _, t := range targets {
		err := dump(t, inetdiag.Filter{States: 1 << inetdiag.CloseWait, Info: true}, func(s *inetdiag.Socket) {
			c.subjects = append(c.subjects, subject{netns: t, socket: *s})
		})
		if err != nil {
			return nil, err
		}
	}
	places := make(map[uint32]subject)
	for _, h := range n.holders {
		if err := descriptors(h.cmd.Process.Pid, places); err != nil {
			return nil, err
		}
	}
	for i := range c.subjects {
		s := &c.subjects[i]
		place, ok := places[s.socket.Inode]
		if !ok {
			return nil, fmt.Errorf("no process has socket %d", s.socket.Inode)
		}
		s.pid, s.fd = place.pid, place.fd
	}
	return c, nil
}

// descriptors adds the sockets of a process by inode.
func descriptors(pid int, places map[uint32]subject) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		text, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
		if err != nil {
			return err
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		places[uint32(inode)] = subject{pid: pid, fd: fd}
	}
	return nil
}

// questions returns the questions about the sockets of a crowd.
func questions(subjects []subject, known bool) []prober.Question {
	list := make([]prober.Question, len(subjects))
	for i, s := range subjects {
		list[i] = prober.Question{
			Netns: s.netns, ID: s.socket.ID, State: s.socket.State, Inode: s.socket.Inode, Tag: uint64(i),
			Owners: []prober.Owner{{PID: s.pid, FD: s.fd, HasFD: known}},
			Count:  6, Interval: 10 * time.Second, ProbeAfter: time.Minute,
		}
	}
	return list
}
