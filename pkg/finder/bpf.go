// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// BPF is the finder for kernels that tell when a socket becomes half-closed, for all namespaces at once and at
// no cost for those in which nothing happens.
//
// One program keeps the set of the sockets that are half-closed. It misses some, so another one walks over the
// descriptors of all processes every quarter of the shortest grace, and adds what the set lacks. What neither
// can see, a socket without a descriptor or one whose process is not to be seen from here, sock_diag finds: it
// sweeps each namespace once when it is new, and audits it rarely from then on. Where that finds what they should
// have, where the set is full or the programs are lost, it does all the work until they can again.
//
// It works on one goroutine, and does one thing at a time.
type BPF struct {
	kernel *Kernel
	pacer  *Pacer    // of reads, walks and sweeps
	sweep  *SockDiag // of what the programs do not see: all, while they do nothing
	audits *SockDiag // of what they see, rarely
	sight  sight
	found  func(...Finding)

	watched map[uint64]*watched // by netns cookie
	set     []Target
	said    FinderState   // last
	sockets int           // that are in the programs' set, as of the last read
	room    int           // for so many
	fallen  *fall         // nil while the programs work
	skipped uint64        // how often the kernel says that it did not call the program, as of the last look
	rose    monotime.Time // when they last began to work again
	pause   time.Duration // of the last fall
	read    monotime.Time // when the set is to be read next
	walk    monotime.Time // when all processes are to be walked over next
	asOf    monotime.Time // when the set was read last
	audit   *audit        // that is going on, nil if none is

	auditEvery time.Duration
}

// watched is a namespace that the programs watch.
type watched struct {
	Target
	since  monotime.Time // of its registration
	read   monotime.Time // what became half-closed before is known; zero: nothing is
	walked monotime.Time // first; what a later walk adds to the set was missed
	swept  bool          // by sock_diag: what was half-closed before it was watched is known, if nobody has it too
}

// auditEvery is how often what the programs see is compared with what sock_diag does, and auditShare the part
// of the CPU budget that it may cost.
const (
	auditEvery = 10 * time.Minute
	auditShare = 1.0 / 50
)

// BPFConfig is what NewBPF needs.
type BPFConfig struct {
	Kernel *Kernel
	Root   *netns.Root
	// CPUBudget is the share of one core that reads, walks and sweeps may cost together, such as 0.02.
	CPUBudget float64
	// AuditInterval is how often each network namespace is audited, 0 for every ten minutes.
	AuditInterval time.Duration
	// AuditBudget is the share of one core that audits may cost, 0 for a fiftieth of CPUBudget.
	AuditBudget float64
}

// NewBPF makes the finder.
func NewBPF(c BPFConfig) *BPF {
	if c.AuditInterval == 0 {
		c.AuditInterval = auditEvery
	}
	if c.AuditBudget == 0 {
		c.AuditBudget = c.CPUBudget * auditShare
	}
	f := &BPF{
		kernel: c.Kernel, pacer: NewPacer(c.CPUBudget, monotime.Now()),
		sweep: NewSockDiag(c.Root, c.CPUBudget), audits: NewSockDiag(c.Root, c.AuditBudget),
		sight: newSight(owners.NewProc("/proc")), watched: make(map[uint64]*watched), auditEvery: c.AuditInterval,
	}
	f.sweep.pacer = f.pacer // one budget
	f.audits.queue.patient = true
	return f
}

// Name returns "bpf".
func (f *BPF) Name() string { return "bpf" }

// Find works until ctx ends. It never gives up by itself.
func (f *BPF) Find(ctx context.Context, targets <-chan []Target, found func(...Finding)) error {
	f.found, f.said = found, FinderState{}
	f.tell()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.retarget(set, monotime.Now())
		case <-timer.C:
			f.step(ctx, monotime.Now())
		}
		f.tell()
		timer.Reset(f.idle(monotime.Now()))
	}
}

// step does what is due, the most urgent first.
func (f *BPF) step(ctx context.Context, now monotime.Time) {
	switch {
	case f.fallen != nil && !now.Before(f.fallen.retry):
		f.rise(ctx, now)
	case f.fallen == nil && len(f.watched) > 0 && f.pacer.Wait(now) == 0 && !now.Before(min(f.read, f.walk)):
		if now.Before(f.walk) {
			f.readSet(now)
		} else {
			f.walkAll(ctx, now)
		}
	}
	f.sweepOne(now)
	f.auditOne(ctx, now)
}

// sweepOne has sock_diag sweep the namespace whose turn it is, if that is due.
func (f *BPF) sweepOne(now monotime.Time) {
	var first *watched
	f.sweep.step(now, func(findings ...Finding) {
		for i := range findings {
			w := f.watched[findings[i].Namespace.Cookie]
			if w != nil && !w.swept && !findings[i].Swept.IsZero() {
				w.swept, first = true, w
			}
			if w != nil && f.fallen == nil && f.sight.sees(w.Identity) {
				findings[i].Late = 0 // the walk was in time
			}
		}
		f.found(findings...)
	})
	if first != nil && f.fallen == nil && f.sight.sees(first.Identity) {
		f.divide()
	}
}

// idle is how long there is nothing to do.
func (f *BPF) idle(now monotime.Time) time.Duration {
	wait := min(f.sweep.idle(now), f.audits.idle(now))
	switch {
	case f.fallen != nil:
		wait = min(wait, f.fallen.retry.Sub(now))
	case len(f.watched) > 0:
		wait = min(wait, max(min(f.read, f.walk).Sub(now), f.pacer.Wait(now)))
	}
	return max(wait, 0)
}

// retarget takes over another set of namespaces. What is new in it is looked at at once.
func (f *BPF) retarget(set []Target, now monotime.Time) {
	old := f.watched
	f.set, f.watched = set, make(map[uint64]*watched, len(set))
	for _, t := range set {
		if t.Identity.Cookie == 0 {
			continue // a kernel without them has no such programs either
		}
		w := old[t.Identity.Cookie]
		if w == nil {
			w = &watched{since: now}
			f.read, f.walk = now, now
		}
		w.Target = t
		f.watched[t.Identity.Cookie] = w
	}
	read, walk := f.intervals()
	f.read, f.walk = min(f.read, now.Add(read)), min(f.walk, now.Add(walk))
	f.watch(now)
	f.divide()
}

// watch has the programs watch the namespaces.
func (f *BPF) watch(now monotime.Time) {
	if f.fallen != nil || !f.healthy(now) {
		return
	}
	cookies := make([]uint64, 0, len(f.watched))
	for cookie := range f.watched {
		cookies = append(cookies, cookie)
	}
	if err := f.kernel.watch(cookies); err != nil {
		f.fall(now, "have the programs watch %d namespaces: %v", len(cookies), err)
	}
}

// divide gives sock_diag what the programs do not see to sweep, and what they see to audit.
func (f *BPF) divide() {
	var sweep, audit []Target
	for _, t := range f.set {
		if w := f.watched[t.Identity.Cookie]; f.fallen == nil && w != nil && w.swept && f.sight.sees(t.Identity) {
			t.Interval = f.auditEvery
			audit = append(audit, t)
		} else {
			sweep = append(sweep, t)
		}
	}
	now := monotime.Now()
	f.sweep.queue.replace(sweep, now)
	f.audits.queue.replace(audit, now)
}

// The shortest time between two reads of the set, and between two walks the longest.
const (
	soonestRead = 20 * time.Millisecond
	latestWalk  = time.Minute
)

// intervals are the times between two reads of the set, so that everything in it is known before it is due, and
// between two walks.
func (f *BPF) intervals() (read, walk time.Duration) {
	read, walk = latestWalk, latestWalk
	for _, w := range f.watched {
		read, walk = min(read, w.Grace/4), min(walk, w.Interval)
	}
	return max(min(read, walk), soonestRead), walk
}
