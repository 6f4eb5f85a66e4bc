// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ExpireRow is the latency of a connection while many sockets expire together beside it.
type ExpireRow struct {
	While     string  `json:"while"`
	Sockets   int     `json:"sockets"`   // that expire
	Destroyed int     `json:"destroyed"` // in the measured time
	Seconds   float64 `json:"seconds"`   // from the first destroy to the last, two minutes at most
	Pings     int     `json:"pings"`     // in that time
	P50       float64 `json:"p50Microseconds"`
	P99       float64 `json:"p99Microseconds"`
	Worst     float64 `json:"worstMicroseconds"`
	Load      string  `json:"load"`
}

// expireGrace returns the grace of the sockets. It starts at the first look, which one walk takes at all of them.
func (o options) expireGrace() time.Duration {
	if o.short {
		return 2 * time.Second
	}
	return 20 * time.Second
}

// measureExpire has one connection send requests beside nothing, beside a reaper that destroys 100,000 sockets at its default
// rate, and beside one without a limit.
func measureExpire(ctx context.Context, o options) (rows []ExpireRow, err error) {
	namespaces, quietFor := 250, 20*time.Second
	if o.short {
		namespaces, quietFor = 2, time.Second
	}
	if err := needMemory(namespaces * leak().total()); err != nil {
		return nil, err
	}
	nd, err := newNetnsSet("expire-", namespaces, false, leak().total())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	for _, c := range []struct {
		while string
		flags []string
	}{
		{"no reaper runs", nil},
		{"destroyed at the default rate, 1,000 a second", []string{"--cpu-budget", "2%", "--max-destroys-per-second", "1000"}},
		{"destroyed without a limit", []string{"--max-destroys-per-second", "0"}},
	} {
		if err := nd.fill(0, namespaces, leak()); err != nil {
			return nil, err
		}
		row := &ExpireRow{While: c.while}
		if c.flags == nil {
			err = row.alone(ctx, nd, quietFor)
		} else {
			err = row.beside(ctx, o, nd, c.flags)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.while, err)
		}
		row.Load = readLoad()
		rows = append(rows, *row)
	}
	return rows, nil
}

// alone measures the connection without a reaper.
func (row *ExpireRow) alone(ctx context.Context, nd *netnsSet, long time.Duration) error {
	progress("measuring a connection beside nothing for %v", long)
	stop, err := startPing(ctx, nd.targets[0])
	if err != nil {
		return err
	}
	err = pause(ctx, long)
	pings, stopErr := stop()
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	return row.set(pings, 0, monotonic())
}

// beside measures the connection while a reaper with the flags destroys all leaked sockets.
func (row *ExpireRow) beside(ctx context.Context, o options, nd *netnsSet, flags []string) (err error) {
	dir, err := os.MkdirTemp(runDir, "expire-")
	if err != nil {
		return err
	}
	store := state.New(dir)
	p := policy.Default()
	grace := policy.Patience(o.expireGrace())
	p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = grace, grace, policy.Never
	if err := record(store, nd.targets, p); err != nil {
		return err
	}
	row.Sockets = len(nd.targets) * leak().Closed
	progress("measuring a connection while %d sockets are %s", row.Sockets, row.While)
	stop, err := startPing(ctx, nd.targets[0])
	if err != nil {
		return err
	}
	cmd, err := startReaper(o, store, append([]string{"--finder", finder.NameBPF, "--bpf-sockets", fmt.Sprint(2 * row.Sockets)}, flags...)...)
	if err != nil {
		_, stopErr := stop()
		return errors.Join(err, stopErr)
	}
	destroyed, first, last, err := destroying(ctx, admin.NewClient(store.SocketPath()), uint64(row.Sockets))
	pings, stopErr := stop()
	if err = errors.Join(err, stopErr, endReaper(cmd)); err != nil {
		return err
	}
	if row.Destroyed = int(destroyed); row.Destroyed == row.Sockets {
		if err := survived(nd.targets, row.Sockets); err != nil {
			return err
		}
	}
	row.Seconds = (last - first).Seconds()
	return row.set(pings, first, last)
}

// maxExpire bounds the time from the first destroy for which the connection is measured.
const maxExpire = 2 * time.Minute

// destroying waits until a reaper has destroyed this number of sockets, or for maxExpire. It returns their number, and when the
// first and the last were destroyed, each within the interval of its questions.
func destroying(ctx context.Context, client *admin.Client, want uint64) (done uint64, first, last time.Duration, err error) {
	err = poll(ctx, 10*patience, time.Second/4, fmt.Sprintf("%d sockets are destroyed", want), func() (bool, error) {
		asked := monotonic()
		status, err := client.Status(ctx)
		if err != nil {
			return false, nil // it is starting
		}
		done = status.Counts.Destroyed[inetdiag.CloseWait]
		if done == 0 {
			first = asked
		}
		last = monotonic()
		return done >= want || done > 0 && last-first > maxExpire, nil
	})
	return done, first, last, err
}

// set sets the latencies to those of the pings that began in that time.
func (row *ExpireRow) set(pings []ping, from, to time.Duration) error {
	var latencies []time.Duration
	for _, p := range pings {
		if p.at >= from && p.at <= to {
			latencies = append(latencies, p.latency)
		}
	}
	if len(latencies) == 0 {
		return errors.New("the connection sent nothing in that time")
	}
	row.Pings = len(latencies)
	row.P50, row.P99, row.Worst = microseconds(percentile(latencies, 50)), microseconds(percentile(latencies, 99)), microseconds(percentile(latencies, 100))
	if row.Seconds == 0 {
		row.Seconds = (pings[len(pings)-1].at - pings[0].at).Seconds()
	}
	return nil
}
