// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// spreadGrace is the grace of sockets whose deadlines are spread over time, except in a short run.
const spreadGrace = 8 * time.Second

func (o options) spreadGrace() time.Duration {
	if o.short {
		return 2 * time.Second
	}
	return spreadGrace
}

// measureLateness spreads deadlines evenly over half a minute with each finder, and measures by the clock of the process
// that half-closed the sockets: destroyed, minus half-closed, minus the grace.
func measureLateness(ctx context.Context, o options, nd *netnsSet) (rows []LatenessRow, err error) {
	namespaces, each, within := 50, sockets{Established: 200}, 30*time.Second
	if o.short {
		namespaces, each, within = 2, sockets{Established: 20}, 2*time.Second
	}
	for _, finder := range finders() {
		if err := nd.fill(0, len(nd.names), sockets{}); err != nil {
			return nil, err
		}
		if err := nd.fill(0, namespaces, each); err != nil {
			return nil, err
		}
		late, _, err := spreadOut(ctx, o, nd, lateRun{
			finder: finder, store: state.New(filepath.Join(runDir, "late-"+finder)), namespaces: namespaces, sockets: namespaces * each.Established, within: within,
		})
		if err != nil {
			return nil, fmt.Errorf("finder %s: %w", finder, err)
		}
		rows = append(rows, latenessRow("deadlines are spread over "+within.String()+", finder "+finder, finder, late))
	}
	return rows, nil
}

func latenessRow(while, finder string, late []time.Duration) LatenessRow {
	return LatenessRow{
		While: while, Sockets: len(late), Finder: finder,
		P50: milliseconds(percentile(late, 50)), P99: milliseconds(percentile(late, 99)), Worst: milliseconds(percentile(late, 100)),
	}
}

// lateRun is a run of a reaper on the first namespaces of a set.
type lateRun struct {
	finder              string
	store               *state.Store
	namespaces, sockets int
	within              time.Duration // the sockets are half-closed
	flags               []string
	beside              func() error // runs at the same time; nil: nothing
}

// spreadOut returns how late the sockets were destroyed, and the longest time by which the history says that one was late or
// excused.
func spreadOut(ctx context.Context, o options, nd *netnsSet, run lateRun) (late []time.Duration, reported time.Duration, err error) {
	store, namespaces, n, within, grace := run.store, run.namespaces, run.sockets, run.within, o.spreadGrace()
	p := policy.Default()
	// A grace of never would spare the other end too, which is in the same network namespace.
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(grace), policy.Patience(time.Hour)
	if err := record(store, nd.targets[:namespaces], p); err != nil {
		return nil, 0, err
	}
	cmd, err := startReaper(o, store, append([]string{"--finder", run.finder, "--max-destroys-per-second", "0"}, run.flags...)...)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, endReaper(cmd)) }()
	if err := awaitSweeps(ctx, store, 1); err != nil {
		return nil, 0, err
	}
	progress("half-closing %d connections within %v, with the finder %s", n, within, run.finder)
	type result struct {
		shut []shut
		err  error
	}
	done := make(chan result, 1)
	go func() {
		list, err := nd.halfClose(0, namespaces, within)
		done <- result{list, err}
	}()
	var g errgroup.Group
	if run.beside != nil {
		g.Go(run.beside)
	}
	destroyed, err := gatherDestroys(ctx, admin.NewClient(store.SocketPath()), n, within+grace+patience)
	r := <-done
	if err = errors.Join(err, r.err, g.Wait()); err != nil {
		return nil, 0, err
	}
	containers := make(map[string]string) // as record calls them
	for i, name := range nd.names {
		containers[name] = "pod-" + strconv.Itoa(i)
	}
	for _, s := range r.shut {
		e, ok := destroyed[containers[s.Namespace]+" "+s.Local+" "+s.Peer]
		if !ok {
			return nil, 0, fmt.Errorf("the history does not have %s", s.Local)
		}
		late = append(late, e.Time.Sub(s.At)-grace)
		reported = max(reported, time.Duration(e.Late+e.Excused))
	}
	return late, reported, nil
}

// gatherDestroys reads the entries of n destroys from the history.
func gatherDestroys(ctx context.Context, client *admin.Client, n int, within time.Duration) (map[string]api.Entry, error) {
	all := make(map[string]api.Entry)
	q := api.HistoryQuery{}
	err := poll(ctx, within, time.Second/2, fmt.Sprintf("%d sockets are destroyed", n), func() (bool, error) {
		page, err := client.History(ctx, q)
		if err != nil {
			return false, err
		}
		if page.Missed > 0 && q.History != "" {
			return false, fmt.Errorf("%d entries of the history were overwritten before they were read", page.Missed)
		}
		for _, e := range page.Entries {
			all[e.ContainerID+" "+e.Local.String()+" "+e.Peer.String()] = e
		}
		q.History, q.After = page.History, page.Last
		return len(all) >= n, nil
	})
	return all, err
}
