// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// DestroyRow is the cost of one way to destroy sockets.
type DestroyRow struct {
	Way     string  `json:"way"`
	Sockets int     `json:"sockets"` // in each round
	Best    float64 `json:"bestCPUMicrosecondsPerSocket"`
	Worst   float64 `json:"worstCPUMicrosecondsPerSocket"`
	Rate    float64 `json:"perSecondAndCore"` // of the best
	Ratio   float64 `json:"ratioToKernel"`    // of the best rounds
}

// The ways with targets, and the one that they are compared with.
const (
	kernelName   = "the kernel's own: look-ups and destroys made before, 8 at a time"
	libraryName  = "pkg/inetdiag: LookupAll and DestroyAll, 8 at a time"
	reaperName   = "the reaper, from due to accounted for"
	foundName    = "the reaper, finding included"
	singleName   = "pkg/inetdiag: Destroy, one at a time, no look"
	ssBulkName   = "nsenter ss -K state close-wait, once a namespace, no look"
	ssSingleName = "nsenter ss -K, once a socket, no look"
)

// leak returns the sockets of each namespace: a leak whose peers are gone, and a few connections that must survive.
func leak() sockets { return sockets{Closed: 400, Established: 10} }

// destroyer is one way to destroy, with its own namespaces.
type destroyer struct {
	share   int // namespaces
	destroy func(ctx context.Context, targets []finder.Netns) ([]cost, error)
}

// cost is the CPU time of destroying this number of sockets.
type cost struct {
	way     string
	sockets int
	cpu     time.Duration
}

// measureDestroy destroys the sockets of some namespaces in each way, several times.
func measureDestroy(ctx context.Context, o options) (_ []DestroyRow, err error) {
	rounds, many := 4, 50
	if o.short {
		rounds, many = 1, 5
	}
	ways := []destroyer{
		{many, func(ctx context.Context, t []finder.Netns) ([]cost, error) { return byReaper(ctx, o, t) }},
		{many, byKernel},
		{many, byLibrary},
		{many, bySingle},
		{many, bySSBulk},
		{1, bySSSingle},
	}
	total := 0
	for _, w := range ways {
		total += w.share
	}
	own := true
	nd, err := newNetnsSet("destroy-", total, own, leak().total())
	if errors.Is(err, errNoChildTables) {
		own = false
		nd, err = newNetnsSet("destroy-", total, own, leak().total())
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	costs := make(map[string][]cost)
	for round := range rounds {
		progress("destroying %d sockets, round %d of %d", total*leak().Closed, round+1, rounds)
		if err := nd.fill(0, total, leak()); err != nil {
			return nil, err
		}
		if err := survived(nd.targets, 0); err != nil {
			return nil, fmt.Errorf("before anything was destroyed: %w", err)
		}
		from := 0
		for _, w := range ways {
			runtime.GC() // collect the garbage of the previous way
			done, err := w.destroy(ctx, nd.targets[from:from+w.share])
			if err != nil {
				return nil, err
			}
			if err := survived(nd.targets[from:from+w.share], done[0].sockets); err != nil {
				return nil, fmt.Errorf("%s: %w", done[0].way, err)
			}
			for _, c := range done {
				costs[c.way] = append(costs[c.way], c)
			}
			from += w.share
		}
	}
	return destroyRows(costs), nil
}

// pause waits for this time, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// poll calls cond at this interval until it returns true or an error.
func poll(ctx context.Context, timeout, interval time.Duration, what string, cond func() (bool, error)) error {
	for end := time.Now().Add(timeout); ; {
		done, err := cond()
		if done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", timeout, what)
		}
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
}

// survived checks that this number of sockets was destroyed, and no other one.
func survived(targets []finder.Netns, destroyed int) error {
	left := make(map[inetdiag.State]int)
	for _, t := range targets {
		err := dump(t, inetdiag.Filter{States: inetdiag.AllStates}, func(s *inetdiag.Socket) { left[s.State]++ })
		if err != nil {
			return err
		}
	}
	closeWait, established := len(targets)*leak().Closed-destroyed, len(targets)*2*leak().Established
	if left[inetdiag.CloseWait] != closeWait || left[inetdiag.Established] != established || sum(left) != closeWait+established {
		return fmt.Errorf("left are %v, want %d in CLOSE_WAIT, %d ESTABLISHED and no others", left, closeWait, established)
	}
	return nil
}

func sum(counts map[inetdiag.State]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// destroyRows compares the ways.
func destroyRows(costs map[string][]cost) []DestroyRow {
	per := func(c cost) float64 { return microseconds(c.cpu) / float64(c.sockets) }
	var rows []DestroyRow
	for _, way := range []string{kernelName, libraryName, reaperName, foundName, singleName, ssBulkName, ssSingleName} {
		var all []float64
		for _, c := range costs[way] {
			all = append(all, per(c))
		}
		best := slices.Min(all)
		rows = append(rows, DestroyRow{
			Way: way, Sockets: costs[way][0].sockets, Best: best, Worst: slices.Max(all), Rate: 1e6 / best,
		})
	}
	for i := range rows {
		rows[i].Ratio = rows[i].Best / rows[0].Best
	}
	return rows
}
