// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// readSet reports the sockets that have become half-closed since the last read.
func (f *BPF) readSet(now monotime.Time) {
	read, _ := f.intervals()
	f.nextRead = now.Add(read)
	if !f.checkHealth(now) {
		return
	}
	var (
		missed uint64
		err    error
	)
	cpu := pacing.MeasureCPU(func() { missed, err = f.readEntries(now) })
	f.readCost = cpu
	f.spendRead(cpu)
	f.sink.Cost(Cost{CPU: cpu, Missed: missed})
	if err != nil {
		f.fallBack(now, "%v", err)
	}
}

// spendRead spends the cost of a read of the set.
func (f *BPF) spendRead(cpu time.Duration) {
	now := f.clock.Now()
	f.reads.Spend(now, cpu)
	f.pacer.Spend(now, cpu)
}

// maxEntryDelay is the longest time between the time of entry in a program's report and its insertion into the set.
const maxEntryDelay = 250 * time.Millisecond

// readEntries reports the sockets of the set that it has not reported yet, and returns the number of sockets that walks have
// added to the set since the last read.
func (f *BPF) readEntries(now monotime.Time) (missed uint64, err error) {
	known := 0
	err = f.loader.Entries(func(e *bpf.Socket) error {
		known++
		f.audit.addKnown(e)
		s := f.states[e.Netns]
		if s == nil {
			return nil
		}
		if e.Entered.IsZero() && !s.firstWalk.IsZero() {
			if s.firstWalk.Before(e.At) && f.lastRead.Before(e.At) {
				missed++
			}
			return nil // the walk has reported it
		}
		if !e.At.Before(s.readUntil) {
			f.addSeen(Seen{Netns: s.Identity, Socket: e.Socket, At: e.At, Entered: e.Entered, Role: roleOf(e)})
		}
		return nil
	})
	f.batch.flush(f.sink)
	if err == nil {
		f.lastRead, f.known = now, known
		for _, s := range f.states {
			s.readUntil = max(now.Add(-maxEntryDelay), 1)
		}
	}
	return missed, err
}

// addSeen reports a socket, with others.
func (f *BPF) addSeen(s Seen) {
	if f.batch.isFull() {
		f.batch.flush(f.sink)
	}
	f.batch.add(s)
}

// walk reports every half-closed socket that a visible process holds.
func (f *BPF) walk(ctx context.Context, now monotime.Time) {
	due := f.nextWalk
	if !f.checkHealth(now) {
		return
	}
	read, walk := f.intervals()
	f.nextRead, f.nextWalk = now.Add(read), now.Add(walk)
	var (
		missed uint64
		err    error
	)
	cpu := pacing.MeasureCPU(func() { missed, err = f.readEntries(now) }) // first: entries have the time of entry, holdings do not
	f.spendRead(cpu)
	if err == nil {
		walked := pacing.MeasureCPU(func() { err = f.readHoldings() })
		f.pacer.Spend(f.clock.Now(), walked)
		cpu += walked
	}
	if err != nil {
		f.fallBack(now, "%v", err)
		return
	}
	if f.visibility.refresh(ctx, f.targets) {
		f.assign()
	}
	f.sink.Cost(Cost{CPU: cpu, Missed: missed})
	f.reportWalk(Sweep{Finder: NameBPF, Began: now, Duration: f.clock.Now().Sub(now), Late: max(now.Sub(due), 0)})
}

// readHoldings reports the sockets that visible processes hold.
func (f *BPF) readHoldings() error {
	err := f.loader.Walk(func(h *bpf.OwnedSocket) error {
		f.audit.addKnown(&h.Socket)
		if s := f.states[h.Netns]; s != nil {
			f.visibility.add(s.Identity)
			f.addSeen(Seen{Netns: s.Identity, Socket: h.Socket.Socket, At: h.At, Role: roleOf(&h.Socket)})
		}
		return nil
	})
	f.batch.flush(f.sink)
	return err
}

// reportWalk reports a complete walk as a sweep of the network namespaces that are visible.
func (f *BPF) reportWalk(sweep Sweep) {
	sweep.Netns = make([]netns.Identity, 0, len(f.states))
	for _, s := range f.states {
		if f.covers(s.Identity) {
			sweep.Netns = append(sweep.Netns, s.Identity)
		}
	}
	if len(sweep.Netns) > 0 {
		f.sink.Swept(sweep)
	}
	walked := f.clock.Now()
	for _, s := range f.states {
		if s.firstWalk.IsZero() {
			s.firstWalk = walked
		}
	}
}
