// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"context"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// BPF is the finder for kernels that report when a socket becomes half-closed, for all network namespaces at
// once and at no cost for idle ones.
//
// One program keeps the set of the sockets that are half-closed. The kernel does not call it for some of them, so
// another program walks over the descriptors of all processes every quarter of the shortest grace, and adds what
// the set lacks. Neither shows a socket without a descriptor, or one whose process is not visible from here. So
// sock_diag sweeps each network namespace once when it is new, and audits it rarely from then on. If an audit
// finds a socket that the programs should have shown, or if the programs fail, the finder falls back to sock_diag
// until they work again. A network namespace with more sockets than fit into the set is unwatched: sock_diag sweeps
// it until they fit, and the programs show the others.
//
// It works on one goroutine and does one thing at a time. Only the sweeps of network namespaces with very many sockets
// run beside it.
type BPF struct {
	refreshes
	loader        *Loader
	clock         monotime.Clock
	opener        Opener
	proc          *owners.Proc
	budget        float64
	pacer         *pacing.Pacer // of reads, walks and sweeps together
	reads         *pacing.Pacer // of reads alone: a walk that costs much delays no read
	sweeps        sweeper       // of the network namespaces that the programs do not cover: all, during a fallback
	crowd         crowd         // of those of them that have very many sockets
	audits        sweeper       // of the network namespaces that they cover
	auditInterval time.Duration
	maxWalk       time.Duration // between two walks
	visibility    visibility
	batch         batch
	sink          Sink

	targets []Netns
	states  map[uint64]*netnsState // of the targets with a cookie, by that
	audit   *audit                 // the current one, nil if there is none

	reported State  // last
	known    int    // sockets in the set at the last read
	capacity int    // of the set
	skipped  uint64 // calls that the kernel has skipped, as of the last check
	overflow uint64 // sockets that did not fit, as of the last check

	lastRead, nextRead, nextWalk monotime.Time
	readCost                     time.Duration // CPU time of the last read of the set
	refreshSet                   bool          // a request waits for a read of the set

	fallback    *fallback // nil while the programs work
	recoveredAt monotime.Time
	minPause    time.Duration // BPFConfig.RetryPause
	retryPause  time.Duration // of the last fallback
}

// netnsState is a network namespace that the programs watch.
type netnsState struct {
	Netns
	addedAt   monotime.Time // to the targets
	readUntil monotime.Time // every entry of the set before this time has been reported; zero: none has
	firstWalk monotime.Time // sockets that later walks add to the set were missed; zero: no walk yet
	swept     bool          // by sock_diag, at least once: the sockets without a descriptor are known too
	spill     spill
}

// BPFConfig is what NewBPF needs.
type BPFConfig struct {
	Config
	Loader *Loader
	// AuditInterval is how often each network namespace is audited; 0 is every ten minutes.
	AuditInterval time.Duration
	// AuditBudget is the share of one core that audits may cost; 0 is a fiftieth of CPUBudget.
	AuditBudget float64
	// RetryPause is the shortest time between a fallback and the attempt to recover, and for which a network namespace whose
	// sockets do not fit into the set is not watched; 0 is ten seconds.
	RetryPause time.Duration
}

// What BPFConfig's zero values stand for.
const (
	defaultAuditInterval = 10 * time.Minute
	defaultMaxWalk       = time.Minute
	defaultAuditShare    = 1.0 / 50 // of the CPU budget
	readShare            = 0.5      // of the CPU budget
)

// NewBPF returns the finder.
func NewBPF(c BPFConfig) *BPF {
	now, opener, proc := c.Clock.Now(), Opener{c.Root}, owners.NewProc("/proc")
	pacer := pacing.New(c.CPUBudget, now)
	audits := pacing.New(cmp.Or(c.AuditBudget, c.CPUBudget*defaultAuditShare), now)
	f := &BPF{
		refreshes: newRefreshes(), loader: c.Loader, clock: c.Clock, opener: opener, proc: proc, pacer: pacer,
		budget: c.CPUBudget, reads: pacing.New(c.CPUBudget*readShare, now),
		sweeps: newSweeper(opener, pacer, c.Clock, dueNow), audits: newSweeper(opener, audits, c.Clock, dueSpread),
		crowd:         newCrowd(opener, c.Clock, c.CPUBudget, c.CrowdLimit),
		auditInterval: cmp.Or(c.AuditInterval, defaultAuditInterval), maxWalk: cmp.Or(c.MaxWalkInterval, defaultMaxWalk),
		minPause: cmp.Or(c.RetryPause, minRetryPause), visibility: newVisibility(proc), batch: newBatch(),
		states: make(map[uint64]*netnsState),
	}
	uncovered := func(id netns.Identity) bool { return !f.covers(id) } // the walk has the roles of the others
	f.sweeps.looksUpRoles, f.crowd.looksUpRoles = uncovered, uncovered
	f.sweeps.maxSockets, f.sweeps.overfull = f.crowd.limit, func(id netns.Identity) {
		f.crowd.members[id] = true
		f.assign()
	}
	return f
}

// Name returns "bpf".
func (f *BPF) Name() string { return NameBPF }

// Find implements Finder. It returns no error.
func (f *BPF) Find(ctx context.Context, targets <-chan []Netns, sink Sink) error {
	f.sink, f.reported = sink, State{}
	f.clearTargets()
	f.cancelRefresh()
	defer f.crowd.wait()
	f.reportState()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.replaceTargets(set, f.clock.Now())
		case done := <-f.requests:
			select {
			case set := <-targets: // received first: a read of the old set would not show the new network namespaces
				f.replaceTargets(set, f.clock.Now())
			default:
			}
			f.startRefresh(done, f.clock.Now())
		case report := <-f.crowd.reports:
			report()
		case <-timer.C:
			f.step(ctx, f.clock.Now())
		}
		f.sweepCrowd(ctx, f.clock.Now())
		f.refreshNext(f.clock.Now())
		f.reportState()
		timer.Reset(f.idle(f.clock.Now()))
	}
}

// step runs the due work, the most urgent first.
func (f *BPF) step(ctx context.Context, now monotime.Time) {
	switch {
	case f.fallback != nil && !now.Before(f.fallback.retry):
		f.recover(ctx, now)
	case f.fallback == nil && len(f.states) > 0:
		if walk, read := f.untilWalk(now), f.untilRead(now); walk <= 0 {
			f.walk(ctx, now)
		} else if read <= 0 {
			f.readSet(now)
		}
	}
	f.sweepNext(now)
	f.auditNext(ctx, now)
}

// untilWalk returns the time until the next walk is due and within the budget. A walk includes a read.
func (f *BPF) untilWalk(now monotime.Time) time.Duration {
	return max(f.nextWalk.Sub(now), f.pacer.Wait(now), f.reads.Wait(now))
}

// untilRead returns the time until the next read of the set is due and within the budget.
func (f *BPF) untilRead(now monotime.Time) time.Duration {
	return max(f.nextRead.Sub(now), f.reads.Wait(now))
}

// idle returns the time until the next step is due.
func (f *BPF) idle(now monotime.Time) time.Duration {
	wait := min(f.sweeps.idle(now), f.audits.idle(now), f.crowd.idleAlone(now))
	switch {
	case f.fallback != nil:
		wait = min(wait, f.fallback.retry.Sub(now))
	case len(f.states) > 0:
		wait = min(wait, f.untilRead(now), f.untilWalk(now))
	}
	if f.refreshSet {
		wait = min(wait, f.waitSpareRead(now))
	}
	return max(wait, 0)
}

// replaceTargets takes over another set of network namespaces. If one is new, a walk is due at once.
func (f *BPF) replaceTargets(set []Netns, now monotime.Time) {
	old := f.states
	f.targets, f.states = set, make(map[uint64]*netnsState, len(set))
	for _, n := range set {
		if n.Identity.Cookie == 0 {
			continue // the programs know a network namespace by its cookie: this one only sock_diag can read
		}
		s := old[n.Identity.Cookie]
		if s == nil {
			s = &netnsState{addedAt: now}
			f.nextRead, f.nextWalk = now, now
		}
		s.Netns = n
		f.states[n.Identity.Cookie] = s
	}
	read, walk := f.intervals()
	f.nextRead, f.nextWalk = min(f.nextRead, now.Add(read)), min(f.nextWalk, now.Add(walk))
	f.crowd.retain(set)
	f.watchTargets(now)
	f.assign()
}

// clearTargets forgets the network namespaces of an earlier Find and their reports. The programs
// watch them until the next set replaces them, so that sockets in the next set too are reported with their time of
// entry.
func (f *BPF) clearTargets() {
	f.targets, f.states = nil, make(map[uint64]*netnsState)
	f.assign()
}

// watchTargets has the programs watch the targets, if they can.
func (f *BPF) watchTargets(now monotime.Time) {
	if f.fallback == nil && f.checkHealth(now) {
		f.watch(now)
	}
}

// watch has the programs watch the targets whose sockets fit into their set.
func (f *BPF) watch(now monotime.Time) {
	cookies := make([]uint64, 0, len(f.states))
	for cookie, s := range f.states {
		if !s.spill.out {
			cookies = append(cookies, cookie)
		}
	}
	if err := f.loader.Watch(cookies); err != nil {
		f.fallBack(now, "watch %d network namespaces: %v", len(cookies), err)
	}
}

// covers reports whether the programs show the sockets of a network namespace, so that sock_diag does not have to
// sweep it at its interval.
func (f *BPF) covers(id netns.Identity) bool {
	s := f.states[id.Cookie]
	return f.fallback == nil && s != nil && !s.spill.out && f.visibility.covers(id)
}

// assign has sock_diag audit the network namespaces that the programs cover, once it has swept them, and sweep
// the others.
func (f *BPF) assign() {
	var sweep, alone, audit []Netns
	for _, n := range f.targets {
		s := f.states[n.Identity.Cookie]
		switch {
		case f.covers(n.Identity) && s.swept:
			n.Interval = f.auditInterval
			audit = append(audit, n)
		case f.crowd.members[n.Identity], s != nil && s.spill.out:
			alone = append(alone, n)
		default:
			sweep = append(sweep, n)
		}
	}
	now := f.clock.Now()
	f.crowd.assign(alone, sweep, &f.sweeps, f.budget, now)
	f.audits.replace(audit, now)
}

// sweepNext has sock_diag sweep a network namespace, if a sweep is due.
func (f *BPF) sweepNext(now monotime.Time) {
	sweep, complete := f.sweeps.sweep(now, f.sink)
	if !complete {
		return
	}
	if first := f.reportSweep(sweep); first && f.covers(sweep.Netns[0]) {
		f.assign()
	}
}

// reportSweep reports a complete sweep of a network namespace, and returns whether it is the first.
func (f *BPF) reportSweep(sweep Sweep) (first bool) {
	id := sweep.Netns[0]
	if f.covers(id) {
		sweep.Late = 0 // the walk was in time
	}
	f.sink.Swept(sweep)
	if s := f.states[id.Cookie]; s != nil && !s.swept {
		s.swept, first = true, true
	}
	return first
}

// minReadInterval is the shortest time between two reads of the set.
const minReadInterval = 20 * time.Millisecond

// intervals returns the times between two reads of the set, so that every socket of the set is known before its
// grace ends, and between two walks.
func (f *BPF) intervals() (read, walk time.Duration) {
	read, walk = f.maxWalk, f.maxWalk
	for _, s := range f.states {
		read, walk = min(read, s.Patience/4), min(walk, cmp.Or(s.Repair, s.Interval))
	}
	return max(min(read, walk), minReadInterval), walk
}
