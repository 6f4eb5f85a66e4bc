// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// SockDiag is the finder for any kernel: it dumps each namespace's half-closed sockets by sock_diag, one
// namespace at a time, as often as its graces ask for and as its share of CPU allows.
//
// A dump walks the namespace's whole hash of connections, which on most kernels is shared by all
// namespaces and has a quarter of a million buckets, so that every namespace costs what the largest does.
// Namespaces with a hash of their own (net.ipv4.tcp_child_ehash_entries, Linux 6.1) cost a hundredth.
type SockDiag struct {
	opener Opener
	why    string // it was chosen
	pacer  *Pacer
	batch  []Seen
	queue  sweepQueue
	walk   time.Duration // what the last walk over a namespace's hash cost
}

// NewSockDiag makes the finder. cpuBudget is the share of one core that sweeping may cost, such as 0.02.
func NewSockDiag(root *netns.Root, cpuBudget float64) *SockDiag {
	return &SockDiag{opener: Opener{root}, pacer: NewPacer(cpuBudget, monotime.Now()), batch: make([]Seen, 0, batchSize)}
}

// batchSize is how many sockets are handed over at once.
const batchSize = 128

// Name returns "sockdiag".
func (f *SockDiag) Name() string { return "sockdiag" }

// Find sweeps until ctx ends. It never gives up by itself.
func (f *SockDiag) Find(ctx context.Context, targets <-chan []Target, found func(...Finding)) error {
	found(Finding{State: &FinderState{Name: f.Name(), Why: f.why}})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.queue.replace(set, monotime.Now())
		case <-timer.C:
			f.step(monotime.Now(), found)
		}
		timer.Reset(f.idle(monotime.Now()))
	}
}

// step sweeps the namespace whose turn it is, if it is due.
func (f *SockDiag) step(now monotime.Time, found func(...Finding)) {
	next := f.queue.peek()
	if next == nil || now.Before(next.due) || f.pacer.Wait(now) > 0 {
		return
	}
	finding := f.sweep(next, found)
	finding.Late, finding.Took = now.Sub(next.due), monotime.Now().Sub(now)
	found(finding)
	f.queue.done(next, now)
}

// idle is how long there is nothing to do.
func (f *SockDiag) idle(now monotime.Time) time.Duration {
	next := f.queue.peek()
	if next == nil {
		return time.Hour
	}
	return max(next.due.Sub(now), f.pacer.Wait(now), 0)
}

// cheapWalk is how little a walk costs where it is not worth asking first whether there is anything: that
// costs 0.08 ms.
const cheapWalk = 500 * time.Microsecond

// sweep looks at all of one namespace, and returns its last Finding.
func (f *SockDiag) sweep(e *sweepEntry, found func(...Finding)) Finding {
	t := e.target
	last := Finding{Namespace: t.Identity, Swept: monotime.Now()}
	f.batch = f.batch[:0]
	expected := cmp.Or(e.walk, f.walk)
	conn, err := f.opener.Open(t, func() (inUse bool) {
		if expected > 0 && expected < cheapWalk {
			return true
		}
		last.CPU += MeasureCPU(func() { inUse = tcpInUse() })
		return inUse
	})
	if err == nil && conn != nil {
		f.walk = MeasureCPU(func() { err = f.dump(conn, t, found) })
		e.walk = f.walk
		last.CPU += f.walk
		conn.Close()
	}
	if err != nil {
		last.Err, last.Swept = err, 0
	}
	last.Seen = f.stamped()
	f.pacer.Spend(monotime.Now(), last.CPU)
	return last
}

// dump hands over all but the last batch of a namespace's half-closed sockets.
func (f *SockDiag) dump(conn *inetdiag.Conn, t Target, found func(...Finding)) error {
	asked := monotime.Now()
	return conn.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(s *inetdiag.Socket) error {
		if len(f.batch) == batchSize {
			found(Finding{Namespace: t.Identity, Seen: f.stamped()})
			f.batch = f.batch[:0]
		}
		f.batch = append(f.batch, Seen{Socket: *s, Asked: asked})
		return nil
	})
}

// stamped returns the batch with the time of its looks: one for all, not before any of them, since reading
// the clock costs a tenth of what a socket does.
func (f *SockDiag) stamped() []Seen {
	at := monotime.Now()
	for i := range f.batch {
		f.batch[i].At = at
	}
	return f.batch
}
