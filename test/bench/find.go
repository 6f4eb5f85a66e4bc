// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// FindRow is the cost of one way to find sockets.
type FindRow struct {
	Namespaces int     `json:"namespaces"`
	Sockets    int     `json:"sockets"`
	HalfClosed int     `json:"halfClosed"`
	OwnTables  bool    `json:"childTables"` // each namespace has a hash of its own
	Way        string  `json:"way"`
	Best       float64 `json:"bestCPUMilliseconds"`
	Worst      float64 `json:"worstCPUMilliseconds"`
	Ratio      float64 `json:"ratioToLoop"` // of the best rounds
}

// finderName is the finder's name in rows. It has targets.
const finderName = "halfclose's finder"

// loopName is the ss loop's name in rows: the others are compared with it.
const loopName = "nsenter ss loop"

// perNamespace returns the sockets of each namespace to search.
func perNamespace() sockets { return sockets{Shut: 100, Established: 100} }

// sizes returns the numbers of namespaces to measure with.
func (o options) sizes() []int {
	if o.short {
		return []int{2, 10}
	}
	return []int{10, 50, 252}
}

// onNode creates the namespaces, with the shared hash and with their own, and runs the measurements that need a full node.
func onNode(ctx context.Context, o options, want map[string]bool, r *report) error {
	for _, own := range []bool{false, true} {
		parts := onSharedHash()
		if own {
			parts = onOwnHashes()
		}
		if !slices.ContainsFunc(parts, func(name string) bool { return want[name] }) {
			continue
		}
		err := onNodeOf(ctx, o, want, own, r)
		if errors.Is(err, errNoChildTables) {
			progress("%v", err)
			r.Notes = append(r.Notes, err.Error())
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func onNodeOf(ctx context.Context, o options, want map[string]bool, own bool, r *report) (err error) {
	sizes := o.sizes()
	full := sizes[len(sizes)-1]
	progress("making %d namespaces, %s", full, tables(own))
	prefix := "shared-"
	if own {
		prefix = "own-"
	}
	nd, err := newNetnsSet(prefix, full, own, leak().total())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	if want["find"] {
		rows, err := measureFind(ctx, o, nd, own)
		if err != nil {
			return fmt.Errorf("measure finding: %w", err)
		}
		r.Find = append(r.Find, rows...)
	}
	if !own {
		return measureBPF(ctx, o, want, nd, r)
	}
	if want["memory"] {
		for _, finder := range finders() {
			m, err := measureMemory(ctx, o, nd, finder)
			if err != nil {
				return fmt.Errorf("measure memory: %w", err)
			}
			r.Memory = append(r.Memory, *m)
		}
	}
	return nil
}

// measureBPF runs the measurements that compare the two finders, and those of a node with the default hash.
func measureBPF(ctx context.Context, o options, want map[string]bool, nd *netnsSet, r *report) (err error) {
	if want["steady"] {
		if r.Steady, err = measureSteady(ctx, o, nd); err != nil {
			return fmt.Errorf("measure what a quiet node costs: %w", err)
		}
	}
	if want["life"] {
		if r.Life, err = measureLife(ctx, o, nd.targets[0]); err != nil {
			return fmt.Errorf("measure the life of connections: %w", err)
		}
	}
	if want["lateness"] {
		if r.Lateness, err = measureLateness(ctx, o, nd); err != nil {
			return fmt.Errorf("measure lateness: %w", err)
		}
	}
	if want["burst"] {
		if r.Burst, err = measureBurst(ctx, o, nd); err != nil {
			return fmt.Errorf("measure a burst: %w", err)
		}
	}
	if want["api"] {
		if r.API, err = measureAPI(ctx, o, nd); err != nil {
			return fmt.Errorf("measure the API: %w", err)
		}
	}
	return nil
}

// tables returns a name for the kind of hash.
func tables(own bool) string {
	if own {
		return "each with a hash of its own"
	}
	return "all in the machine's one hash"
}

// measureFind measures a search in empty namespaces, and then in more and more namespaces with sockets.
func measureFind(ctx context.Context, o options, nd *netnsSet, own bool) ([]FindRow, error) {
	loop := way{loopName, children, findByLoop}
	library := way{"SocketDiagTCPInfo, both families", self, findByLibrary}
	families := way{"halfclose, family by family", self, findByFamily}
	finder := way{finderName, self, findByFinder}

	full := len(nd.names)
	rows, err := compareWatching(ctx, o, nd, full, own, sockets{}, loop, finder)
	if err != nil {
		return nil, err
	}
	filled := 0
	for _, size := range o.sizes() {
		if err := nd.fill(filled, size, perNamespace()); err != nil {
			return nil, err
		}
		filled = size
		more, err := compareWatching(ctx, o, nd, size, own, perNamespace(), loop, library, families, finder)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// compareWatching also compares the ways of the bpf finder, whose programs watch the same namespaces.
func compareWatching(ctx context.Context, o options, nd *netnsSet, size int, own bool, s sockets, ways ...way) (_ []FindRow, err error) {
	p, err := watching(nd.targets[:size])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return compare(ctx, o, nd, size, own, s, append(ways, way{setName, self, findBySet(p)}, way{walkName, self, findByWalk(p)})...)
}

// compare measures several ways in turn, in the first n namespaces. The others are compared with the first way.
func compare(ctx context.Context, o options, nd *netnsSet, size int, own bool, s sockets, ways ...way) ([]FindRow, error) {
	rounds := cmp.Or(o.rounds, 5)
	switch {
	case o.short:
		rounds = 1
	case o.rounds > 0:
	case size > 100 && !own:
		rounds = 3 // of a quarter of a minute each
	}
	targets, want := nd.targets[:size], size*s.halfClosed()
	progress("finding %d half-closed sockets in %d namespaces, %s", want, size, tables(own))
	cost := make([][]time.Duration, len(ways)) // the best counts: what else went on only added to it
	for range rounds {
		for i, w := range ways {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			runtime.GC() // collect the garbage of the previous way
			before := w.clock()
			found, err := w.find(ctx, targets)
			cost[i] = append(cost[i], w.clock()-before)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			if found != want {
				return nil, fmt.Errorf("%s found %d half-closed sockets, but there are %d", w.name, found, want)
			}
		}
	}
	rows := make([]FindRow, len(ways))
	for i, w := range ways {
		rows[i] = FindRow{
			Namespaces: size, Sockets: size * s.total(), HalfClosed: want, OwnTables: own, Way: w.name,
			Best: milliseconds(slices.Min(cost[i])), Worst: milliseconds(slices.Max(cost[i])),
			Ratio: float64(slices.Min(cost[i])) / float64(slices.Min(cost[0])),
		}
	}
	return rows, nil
}
