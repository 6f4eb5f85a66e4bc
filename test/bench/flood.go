// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// flood is one network namespace with very many half-closed sockets, and the processes that own them: one process may not have
// as many descriptors.
type flood struct {
	name    string
	sockets int
	holders []*holder
}

// floodShare is the number of connections of a holder.
const floodShare = 5000

// fill half-closes all connections of the flood.
func (f *flood) fill(connections int) error {
	var g errgroup.Group
	for range connections / floodShare {
		h, err := startHolder()
		if err != nil {
			return err
		}
		f.holders = append(f.holders, h)
		// The reaper must not wait for a CPU: that would measure the scheduler.
		if err := unix.Setpriority(unix.PRIO_PROCESS, h.cmd.Process.Pid, 19); err != nil {
			return fmt.Errorf("set the priority of a process that holds sockets: %w", err)
		}
		g.Go(func() error {
			_, err := h.order(order{Namespaces: []string{f.name}, Exist: true, Sockets: sockets{Shut: floodShare}})
			return err
		})
	}
	f.sockets = connections / floodShare * floodShare * 2
	return g.Wait()
}

// end ends the processes, and removes the network namespace.
func (f *flood) end() error {
	var errs []error
	for _, h := range f.holders {
		h.stdin.Close()
	}
	for _, h := range f.holders {
		errs = append(errs, h.cmd.Wait())
	}
	return errors.Join(append(errs, node.DeleteNetns(f.name))...)
}

// measureFlood measures the lateness of a few sockets beside a flood in another network namespace, with each finder at the
// default CPU budget. The sockets become due while the flood grows and after it.
func measureFlood(ctx context.Context, o options) (rows []LatenessRow, err error) {
	connections, within := 100_000, time.Minute
	if o.short {
		connections, within = floodShare, 2*time.Second
	}
	const beside, each = 3, 20
	if err := needMemory(2 * connections); err != nil {
		return nil, err
	}
	for _, finder := range finders() {
		for _, flooded := range []bool{false, true} {
			if o.short && !flooded {
				continue
			}
			row, err := floodOnce(ctx, o, finder, map[bool]int{true: connections}[flooded], beside, each, within)
			if err != nil {
				return nil, fmt.Errorf("finder %s: %w", finder, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func floodOnce(ctx context.Context, o options, finder string, connections, beside, each int, within time.Duration) (row LatenessRow, err error) {
	nd, err := newNetnsSet(fmt.Sprintf("beside-%s-%d-", finder, connections), beside, false, 2*each)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	if err := nd.fill(0, beside, sockets{Established: each}); err != nil {
		return row, err
	}
	f := &flood{name: "flood"}
	if err := makeNamespace(f.name); err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	target, err := identify(f.name, false)
	if err != nil {
		return row, err
	}
	nd.targets = append(nd.targets, target)
	run := lateRun{
		finder: finder, store: state.New(filepath.Join(runDir, fmt.Sprintf("flood-%s-%d", finder, connections))), namespaces: beside, sockets: beside * each, within: within,
		flags: []string{"--cpu-budget", "2%"},
		beside: func() error {
			began := time.Now()
			err := f.fill(connections)
			progress("a flood of %d sockets took %v", f.sockets, time.Since(began).Round(time.Second/10))
			return err
		},
	}
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(10*time.Minute), policy.Patience(10*time.Minute)
	if err := recordAs(run.store, nd.targets[beside:], p, "flood"); err != nil {
		return row, err
	}
	late, reported, err := spreadOut(ctx, o, nd, run)
	if err != nil {
		return row, err
	}
	row = latenessRow(fmt.Sprintf("beside a flood of %d sockets in another network namespace, finder %s", f.sockets, finder), finder, late)
	row.Reported = milliseconds(reported)
	return row, nil
}
