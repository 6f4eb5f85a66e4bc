// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
)

// GrowthRow is the cost of one way to find sockets, on a node of a size.
type GrowthRow struct {
	FindRow
	Factor    int     `json:"factor"`                // of the smallest node
	PerSocket float64 `json:"microsecondsPerSocket"` // that is half-closed; of the best round
	// Measured is the number of namespaces that were searched. The costs are for all of them.
	Measured int    `json:"measuredNamespaces"`
	Load     string `json:"load"`
}

// Growth is the cost of finding while a node grows.
type Growth struct {
	Rows []GrowthRow `json:"rows"`
	// Kernel is the growth of the kernel's slabs with the sockets of the largest node.
	Kernel float64 `json:"kernelMebibytes"`
}

// growthSize is the size of a node at factor 1, and its largest factor.
type growthSize struct {
	namespaces, largest int
	each                sockets
	factors             []int // with the set and the walk
	slow                []int // with sock_diag and the ss loop too, whose cost grows with the square: see maxSlow
}

func (o options) growthSize() growthSize {
	if o.short {
		return growthSize{2, 2, sockets{Shut: 2, Established: 18}, []int{1, 2}, []int{2}}
	}
	return growthSize{100, 10, sockets{Shut: 50, Established: 450}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []int{1, 2, 5, 10}}
}

// maxSlow bounds the namespaces that the slow ways search. Each of them walks over the sockets of all namespaces, so all cost
// the same.
const maxSlow = 100

// socketBytes is an estimate of the memory of a connection's end: 3.4 KiB of the kernel's, and a share of its owner's.
const socketBytes = 4096

// errNoMemory is the error of a measurement that the machine has too little memory for.
var errNoMemory = errors.New("too little memory")

// needMemory returns errNoMemory if the machine cannot hold this number of sockets.
func needMemory(count int) error {
	m, err := readMeminfo()
	if err != nil {
		return err
	}
	need := count*socketBytes>>20 + 1024
	if free := m["MemAvailable"] >> 10; free < need {
		return fmt.Errorf("%w: %d sockets need %d MiB, and %d MiB are free", errNoMemory, count, need, free)
	}
	return nil
}

// measureGrowth finds the half-closed sockets of a node that grows to a million sockets in 1,000 namespaces, a tenth of them
// half-closed. All namespaces use the machine's hash.
func measureGrowth(ctx context.Context, o options) (g *Growth, err error) {
	size := o.growthSize()
	all := size.namespaces * size.largest
	if err := needMemory(all * size.each.total()); err != nil {
		return nil, err
	}
	progress("making %d namespaces for %d sockets", all, all*size.each.total())
	nd, err := newNetnsSet("grow-", all, false, size.each.total())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	before, err := readMeminfo()
	if err != nil {
		return nil, err
	}
	g = &Growth{}
	for filled := 0; filled < size.largest; filled++ {
		if err := nd.fill(filled*size.namespaces, (filled+1)*size.namespaces, size.each); err != nil {
			return nil, err
		}
		factor := filled + 1
		if !slices.Contains(size.factors, factor) {
			continue
		}
		rows, err := growthRows(ctx, o, nd, size, factor)
		if err != nil {
			return nil, err
		}
		g.Rows = append(g.Rows, rows...)
	}
	after, err := readMeminfo()
	g.Kernel = float64(after["Slab"]-before["Slab"]) / 1024
	return g, err
}

// growthRows measures the ways at one size. The slow ones are measured once.
func growthRows(ctx context.Context, o options, nd *netnsSet, size growthSize, factor int) (rows []GrowthRow, err error) {
	count := factor * size.namespaces
	p, err := watchingUpTo(nd.targets[:count], 2*count*size.each.halfClosed())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	o.rounds = 5
	found, err := compare(ctx, o, nd, count, false, size.each, way{setName, self, findBySet(p)}, way{walkName, self, findByWalk(p)})
	if err != nil {
		return nil, err
	}
	if slices.Contains(size.slow, factor) {
		o.rounds = 1
		slow, err := compare(ctx, o, nd, min(count, maxSlow), false, size.each, way{loopName, children, findByLoop}, way{finderName, self, findByFinder})
		if err != nil {
			return nil, err
		}
		for i := range slow {
			all := float64(count) / float64(slow[i].Namespaces)
			slow[i].Best, slow[i].Worst = all*slow[i].Best, all*slow[i].Worst
			slow[i].Namespaces, slow[i].Sockets, slow[i].HalfClosed = count, found[0].Sockets, found[0].HalfClosed
		}
		for i := range found {
			found[i].Ratio = found[i].Best / slow[0].Best
		}
		found = append(found, slow...)
	} else {
		for i := range found {
			found[i].Ratio = 0
		}
	}
	load := readLoad()
	for _, f := range found {
		measured := count
		if f.Way == loopName || f.Way == finderName {
			measured = min(count, maxSlow)
		}
		rows = append(rows, GrowthRow{FindRow: f, Factor: factor, PerSocket: 1000 * f.Best / float64(f.HalfClosed), Measured: measured, Load: load})
	}
	return rows, nil
}

// watchingUpTo is watching with room for this number of sockets.
func watchingUpTo(targets []finder.Netns, room int) (*bpf.Programs, error) {
	return watchingWith(targets, bpf.Options{MaxSockets: room, MaxNamespaces: len(targets) + 1})
}

// growth returns the cost of a half-closed socket at the largest size, as a multiple of that at the smallest.
func (g *Growth) growth(way string) float64 {
	for _, row := range g.Rows {
		if row.Way == way && row.Factor == 1 && row.PerSocket > 0 {
			return g.largest(way).PerSocket / row.PerSocket
		}
	}
	return 0
}

// largest returns the row of a way at the largest size.
func (g *Growth) largest(way string) (row GrowthRow) {
	for _, r := range g.Rows {
		if r.Way == way && r.Factor > row.Factor {
			row = r
		}
	}
	return row
}
