// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// readSet hands over what became half-closed since the last time.
func (f *BPF) readSet(now monotime.Time) {
	every, _ := f.intervals()
	f.read = now.Add(every)
	if !f.healthy(now) {
		return
	}
	var (
		missed uint64
		err    error
	)
	cpu := MeasureCPU(func() { missed, err = f.entries(now) })
	f.pacer.Spend(monotime.Now(), cpu)
	f.found(Finding{CPU: cpu, Missed: missed})
	if err != nil {
		f.fall(now, "%v", err)
	}
}

// settling is how long after the moment that the kernel notes for it a socket may come into the set.
const settling = 250 * time.Millisecond

// entries hands over those of the set that are not known yet, and returns how many of it a walk had to add since the
// set was read last.
func (f *BPF) entries(now monotime.Time) (missed uint64, err error) {
	known := 0
	g := gatherer{found: f.found, seen: f.sweep.batch[:0]}
	err = f.kernel.entries(func(s *bpf.Socket) error {
		known++
		f.audit.know(s)
		w := f.watched[s.Netns]
		if w == nil {
			return nil
		}
		if s.Entered.IsZero() && !w.walked.IsZero() {
			if w.walked.Before(s.At) && f.asOf.Before(s.At) {
				missed++
			}
			return nil // the walk has handed it over
		}
		if !s.At.Before(w.read) {
			g.add(w.Identity, Seen{Socket: s.Socket, At: s.At, Entered: s.Entered})
		}
		return nil
	})
	g.flush()
	if err == nil {
		f.asOf, f.sockets = now, known
		for _, w := range f.watched {
			w.read = max(now.Add(-settling), 1)
		}
	}
	return missed, err
}

// walkAll looks at every half-closed socket that a process has.
func (f *BPF) walkAll(ctx context.Context, now monotime.Time) {
	due := f.walk
	if !f.healthy(now) {
		return
	}
	read, walk := f.intervals()
	f.read, f.walk = now.Add(read), now.Add(walk)
	var (
		missed uint64
		err    error
	)
	cpu := MeasureCPU(func() {
		if missed, err = f.entries(now); err == nil { // first, since they tell more
			err = f.holdings()
		}
	})
	f.pacer.Spend(monotime.Now(), cpu)
	if err != nil {
		f.fall(now, "%v", err)
		return
	}
	if f.sight.look(ctx, f.set) {
		f.divide()
	}
	f.swept(Finding{Swept: now, CPU: cpu, Took: monotime.Now().Sub(now), Late: max(now.Sub(due), 0), Missed: missed})
}

// holdings hands over what processes have.
func (f *BPF) holdings() error {
	g := gatherer{found: f.found, seen: f.sweep.batch[:0]}
	err := f.kernel.walk(func(h *bpf.Holding) error {
		f.audit.know(&h.Socket)
		if w := f.watched[h.Netns]; w != nil {
			f.sight.saw(w.Identity)
			g.add(w.Identity, Seen{Socket: h.Socket.Socket, At: h.At})
		}
		return nil
	})
	g.flush()
	return err
}

// swept says that a walk is complete: what it has not shown of the namespaces that it sees may be gone. What all
// of them have in common is told of once.
func (f *BPF) swept(all Finding) {
	for _, w := range f.watched {
		if f.sight.sees(w.Identity) {
			all.Namespace = w.Identity
			f.found(all)
			all.CPU, all.Took, all.Missed = 0, 0, 0
		}
		if w.walked.IsZero() {
			w.walked = monotime.Now()
		}
	}
	f.found(Finding{CPU: all.CPU, Missed: all.Missed})
}

// gatherer hands over sockets of several namespaces, many at a time.
type gatherer struct {
	found    func(...Finding)
	seen     []Seen // of one capacity: findings point into it
	findings []Finding
}

func (g *gatherer) add(ns netns.Identity, s Seen) {
	if len(g.seen) == cap(g.seen) {
		g.flush()
	}
	g.seen = append(g.seen, s)
	if last := len(g.findings) - 1; last >= 0 && g.findings[last].Namespace == ns {
		g.findings[last].Seen = g.seen[len(g.seen)-1-len(g.findings[last].Seen):]
		return
	}
	g.findings = append(g.findings, Finding{Namespace: ns, Seen: g.seen[len(g.seen)-1:]})
}

func (g *gatherer) flush() {
	if len(g.findings) > 0 {
		g.found(g.findings...)
	}
	g.seen, g.findings = g.seen[:0], g.findings[:0]
}
