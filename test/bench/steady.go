// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// SteadyRow is the cost of a reaper while nothing is half-closed.
type SteadyRow struct {
	Finder     string  `json:"finder"`
	Namespaces int     `json:"namespaces"`
	Sockets    int     `json:"sockets"` // all of them at work
	Seconds    float64 `json:"seconds"`
	Share      float64 `json:"percentOfACore"`
}

// quiet returns the sockets of a namespace in which nothing is half-closed.
func quiet() sockets { return sockets{Established: 2} }

// measureSteady runs the real reaper with its defaults and each finder, on a node on which nothing is half-closed.
func measureSteady(ctx context.Context, o options, nd *netnsSet) (rows []SteadyRow, err error) {
	namespaces, watch := 250, time.Minute
	if o.short {
		namespaces, watch = len(nd.names), 3*time.Second
	}
	if err := nd.fill(0, len(nd.names), quiet()); err != nil {
		return nil, err
	}
	end, err := nd.inhabit(namespaces)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return nil, err
	}
	for _, finder := range finders() {
		row, err := steady(ctx, o, nd, finder, namespaces, watch)
		if err != nil {
			return nil, fmt.Errorf("finder %s: %w", finder, err)
		}
		rows = append(rows, *row)
	}
	return rows, nil
}

func steady(ctx context.Context, o options, nd *netnsSet, finder string, namespaces int, watch time.Duration) (row *SteadyRow, err error) {
	store := state.New(filepath.Join(runDir, "steady-"+finder))
	if err := record(store, nd.targets[:namespaces], policy.Default()); err != nil {
		return nil, err
	}
	cmd, err := startReaper(o, store, "--finder", finder, "--cpu-budget", "2%")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endReaper(cmd)) }()
	progress("watching what a reaper with the finder %s costs for %v, once it has looked at %d quiet namespaces", finder, watch, namespaces)
	if err := awaitSweeps(ctx, store, namespaces); err != nil {
		return nil, err
	}
	before, err := usedBy(cmd.Process.Pid)
	if err == nil {
		err = pause(ctx, watch)
	}
	if err != nil {
		return nil, err
	}
	after, err := usedBy(cmd.Process.Pid)
	return &SteadyRow{
		Finder: finder, Namespaces: namespaces, Sockets: namespaces * quiet().total(), Seconds: watch.Seconds(),
		Share: 100 * float64(after-before) / float64(watch),
	}, err
}

// awaitSweeps waits until a reaper has swept n namespaces, and for 2 s more, so that the cost of that is past.
func awaitSweeps(ctx context.Context, store *state.Store, n int) error {
	client := admin.NewClient(store.SocketPath())
	err := poll(ctx, 5*patience, time.Second, fmt.Sprintf("%d namespaces are swept", n), func() (bool, error) {
		status, err := client.Status(ctx)
		return err == nil && status.Finder.Sweeps >= uint64(n), nil // no answer: the reaper is starting
	})
	if err != nil {
		return err
	}
	return pause(ctx, 2*time.Second)
}

// usedBy returns the CPU time that all threads of a process have used (proc_pid_schedstat).
func usedBy(pid int) (all time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		all += time.Duration(ns)
	}
	return all, err
}

// inhabit starts a process in each of the first n namespaces, as every container has one.
func (nd *netnsSet) inhabit(n int) (end func() error, err error) {
	var all []*exec.Cmd
	end = func() error {
		var errs []error
		for _, cmd := range all {
			errs = append(errs, cmd.Process.Kill())
			if err := cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	for _, t := range nd.targets[:n] {
		cmd := exec.Command("sleep", "infinity")
		if err := inside(t, cmd.Start); err != nil {
			return end, fmt.Errorf("start a process in a namespace: %w", err)
		}
		all = append(all, cmd)
	}
	return end, nil
}
