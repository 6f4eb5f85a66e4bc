// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// BurstRow is the time in which a finder learns of many sockets that become half-closed at once.
type BurstRow struct {
	Finder     string  `json:"finder"`
	Sockets    int     `json:"sockets"`
	Within     float64 `json:"withinSeconds"` // from the first to the last
	Known      float64 `json:"knownSeconds"`  // from the last until all were known
	Missed     uint64  `json:"missed"`        // by the events
	NeverKnown int     `json:"neverKnown"`
}

// burstGrace is the grace of these sockets: missed ones are found within a quarter of it.
func (o options) burstGrace() time.Duration {
	if o.short {
		return 4 * time.Second
	}
	return 20 * time.Second
}

// measureBurst half-closes many connections as fast as possible, with each finder.
func measureBurst(ctx context.Context, o options, nd *netnsSet) (rows []BurstRow, err error) {
	namespaces, each := 125, sockets{Established: 200}
	if o.short {
		namespaces, each = 2, sockets{Established: 20}
	}
	for _, finder := range finders() {
		if err := nd.fill(0, len(nd.names), sockets{}); err != nil {
			return nil, err
		}
		if err := nd.fill(0, namespaces, each); err != nil {
			return nil, err
		}
		row, err := burst(ctx, o, nd, finder, namespaces, namespaces*each.total())
		if err != nil {
			return nil, fmt.Errorf("finder %s: %w", finder, err)
		}
		rows = append(rows, *row)
	}
	return rows, nil
}

func burst(ctx context.Context, o options, nd *netnsSet, finder string, namespaces, n int) (row *BurstRow, err error) {
	store, grace := state.New(filepath.Join(runDir, "burst-"+finder)), o.burstGrace()
	p := policy.Default()
	p.Mode = policy.Observe
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(grace), policy.Patience(grace)
	if err := record(store, nd.targets[:namespaces], p); err != nil {
		return nil, err
	}
	cmd, err := startReaper(o, store, "--finder", finder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endReaper(cmd)) }()
	if err := awaitSweeps(ctx, store, namespaces); err != nil {
		return nil, err
	}
	progress("half-closing %d sockets at once, with the finder %s", n, finder)
	began := time.Now()
	if _, err := nd.halfClose(0, namespaces, 0); err != nil {
		return nil, err
	}
	over := time.Now()
	row = &BurstRow{Finder: finder, Sockets: n, Within: over.Sub(began).Seconds()}
	client := admin.NewClient(store.SocketPath())
	for {
		status, err := client.Status(ctx)
		if err != nil {
			return nil, err
		}
		known := 0
		for _, count := range status.Candidates {
			known += count
		}
		row.Missed, row.NeverKnown = status.Finder.Missed, n-known
		if known == n || time.Since(over) > grace*3/4 {
			row.Known = time.Since(over).Seconds()
			break
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	// Sockets that a walk adds are counted at the next read of the set.
	if err := pause(ctx, grace/4+time.Second); err != nil {
		return nil, err
	}
	status, err := client.Status(ctx)
	row.Missed = status.Finder.Missed
	return row, err
}
