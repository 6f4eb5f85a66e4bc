// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
)

// Life is the cost of the bpf finder for the connections of a node: each is opened, closed at one end and then at the
// other, so that it is half-closed in between.
type Life struct {
	Connections int `json:"connections"` // a round
	Rounds      int `json:"rounds"`
	// Kernel is the run time of the program that the kernel counts (kernel.bpf_stats_enabled), in ns per connection, and
	// Calls the number of its calls.
	Kernel float64 `json:"kernelNanoseconds"`
	Calls  float64 `json:"callsPerConnection"`
	// Without and With are the CPU time of a connection's life without and with the programs, in us: the medians of the
	// rounds. Added is the median of the differences between two consecutive rounds.
	Without float64 `json:"withoutMicroseconds"`
	With    float64 `json:"withMicroseconds"`
	Added   float64 `json:"addedMicroseconds"`
}

// measureLife measures it in a namespace that the programs watch.
func measureLife(ctx context.Context, o options, t finder.Netns) (*Life, error) {
	l := &Life{Connections: 4000, Rounds: 21}
	if o.short {
		l.Connections, l.Rounds = 500, 2
	}
	progress("making and closing %d connections with the bpf finder's programs and without", l.Connections*l.Rounds*2)
	var without, with, added []float64
	for range l.Rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		bare, err := lives(t, l.Connections)
		if err != nil {
			return nil, err
		}
		p, err := watching([]finder.Netns{t})
		if err != nil {
			return nil, err
		}
		watched, err := lives(t, l.Connections)
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, err
		}
		each := float64(l.Connections)
		without, with = append(without, microseconds(bare)/each), append(with, microseconds(watched)/each)
		added = append(added, microseconds(watched-bare)/each)
	}
	l.Without, l.With, l.Added = median(without), median(with), median(added)
	return l, l.count(t)
}

// count measures the run time of the program.
func (l *Life) count(t finder.Netns) error {
	return countingBPF(func() (err error) {
		p, err := watching([]finder.Netns{t})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		if _, err := lives(t, l.Connections); err != nil {
			return err
		}
		stats, err := stateChangeStats()
		if err != nil {
			return err
		}
		if stats.RunCount == 0 {
			return errors.New("the kernel counts no run of the program")
		}
		l.Kernel = float64(stats.Runtime.Nanoseconds()) / float64(l.Connections)
		l.Calls = float64(stats.RunCount) / float64(l.Connections)
		return nil
	})
}

// lives opens and closes n connections in a namespace one after the other, and returns the CPU time.
func lives(t finder.Netns, n int) (cpu time.Duration, err error) {
	err = inside(t, func() error {
		listeners, err := listenAll()
		defer closeAll(listeners)
		if err != nil {
			return err
		}
		before := self()
		for i := range n {
			client, server, err := connect(listeners[i%len(listeners)])
			if err != nil {
				return err
			}
			err = unix.Close(client)
			var end [1]byte
			if m, readErr := unix.Read(server, end[:]); m != 0 || readErr != nil {
				err = errors.Join(err, fmt.Errorf("read %d bytes at the end: %w", m, readErr))
			}
			if err = errors.Join(err, unix.Close(server)); err != nil {
				return err
			}
		}
		cpu = self() - before
		return nil
	})
	return cpu, err
}

// percentile returns the smallest value that p per cent of the values do not exceed.
func percentile(values []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// room returns the kernel memory of the programs' maps, and the capacity of their set.
func room() (mebibytes float64, sockets int, err error) {
	p, err := bpf.Load(bpf.Options{})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	h, err := p.Health()
	if err != nil {
		return 0, 0, err
	}
	bytes, err := mapMemory("sockets", "watched")
	return float64(bytes) / (1 << 20), h.Capacity, err
}
