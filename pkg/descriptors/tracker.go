// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package descriptors

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// Processes reads descriptors of processes; *owners.Proc implements it.
type Processes interface {
	Holding(ctx context.Context, pid int, sockets map[uint32]owners.Place) (map[uint32]owners.Place, error)
	StartTime(pid int) (uint64, error)
	OpenFiles(ctx context.Context, pid int) (owners.OpenFiles, error)
}

// Config is the configuration of a Tracker. Processes and Clock are required.
type Config struct {
	Processes Processes
	Clock     monotime.Clock
	// MaxSockets bounds the watched sockets; 0 is DefaultMaxSockets.
	MaxSockets int
	// Budget is the limit on CPU time, as a share of one core; 0 is DefaultBudget.
	Budget float64
	// Path is the file in which watched sockets survive a restart, of this Boot; "" saves nothing.
	Path, Boot string
	Writes     *writelog.Log // has the outcome of writing Path
	Log        *slog.Logger  // nil: nothing is logged
}

// The defaults of Config.
const (
	DefaultMaxSockets = 1 << 16
	DefaultBudget     = 0.001
)

// Socket is a socket that has ended although its owner had not closed it.
type Socket struct {
	Inode uint32 // of its descriptors
	Ended monotime.Time
	Pod   state.Pod
	// Owners are its known owners. TID and FD are where each had it, or zero. The Tracker does not change the list.
	Owners []owners.Process
}

// Suspect is a process that leaks sockets.
type Suspect struct {
	owners.Process
	Pod state.Pod
}

// Tracker watches descriptors of ended sockets. Its methods are safe for concurrent use.
type Tracker struct {
	config Config
	wake   chan struct{} // capacity 1: full while Run has not seen that the mailbox has sockets

	mu      sync.Mutex
	mailbox []Socket
	dropped uint64 // by a full mailbox
	view    api.DescriptorsView
}

// New returns a Tracker. It watches nothing until Run.
func New(c Config) *Tracker {
	c.MaxSockets = cmp.Or(c.MaxSockets, DefaultMaxSockets)
	c.Budget = cmp.Or(c.Budget, DefaultBudget)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Tracker{config: c, wake: make(chan struct{}, 1), view: emptyView()}
}

func emptyView() api.DescriptorsView {
	return api.DescriptorsView{Holders: []api.DescriptorHolder{}, NearLimit: []api.FileUse{}} // empty instead of null in JSON
}

// Ended adds a socket that has ended. It never blocks.
func (t *Tracker) Ended(s Socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mailbox) >= t.config.MaxSockets {
		t.dropped++
		return
	}
	t.mailbox = append(t.mailbox, s)
	if len(t.mailbox) == 1 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// View returns the state as of the latest check. The caller must not change its lists.
func (t *Tracker) View() api.DescriptorsView {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// collect empties the mailbox.
func (t *Tracker) collect() ([]Socket, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, dropped := t.mailbox, t.dropped
	t.mailbox, t.dropped = nil, 0
	return list, dropped
}

func (t *Tracker) publish(v api.DescriptorsView) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view = v
}

const (
	// closeDelay is how long after its end a socket counts as held at the earliest: its owner needs a moment to close it.
	closeDelay = time.Second
	// maxCheckInterval is the longest time between two checks of a process. The interval doubles from closeDelay.
	maxCheckInterval = time.Minute
	// forgetAfter is how long after the last end of a socket a process without a held one is remembered.
	forgetAfter = 10 * time.Minute
	// limitInterval is the time between two looks at the limits on open files.
	limitInterval = time.Minute
	// saveInterval is the time between two saves, if there is a change.
	saveInterval = time.Minute
	// maxSuspects bounds the processes whose limits on open files are read.
	maxSuspects = 1000
)

// Run watches descriptors until ctx is done. suspects returns the processes that leak now, the worst first; nil if they are
// unknown. Run may be called once.
func (t *Tracker) Run(ctx context.Context, suspects func(context.Context) []Suspect) {
	clock := t.config.Clock
	now := clock.Now()
	r := run{
		Tracker: t, table: newTable(t.config.MaxSockets), pacer: pacing.New(t.config.Budget, now), suspects: suspects,
		nextLimits: now.Add(closeDelay), nextSave: now.Add(saveInterval),
	}
	r.load(now)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.add()
			r.save()
			return
		case <-t.wake: // the new sockets wait for others, and for their owners
			timer.Reset(min(closeDelay, r.untilWork(clock.Now())))
		case <-timer.C:
			r.add()
			r.work(ctx)
			t.publish(r.table.view(clock, r.near))
			timer.Reset(r.untilWork(clock.Now()))
		}
	}
}

// run is the state of Run.
type run struct {
	*Tracker
	table      *table
	pacer      *pacing.Pacer
	suspects   func(context.Context) []Suspect
	near       []api.FileUse
	nextLimits monotime.Time
	nextSave   monotime.Time
}

// add adds the sockets of the mailbox to the table.
func (r *run) add() {
	list, dropped := r.collect()
	now := r.config.Clock.Now()
	for i := range list {
		r.table.add(&list[i], now)
	}
	r.table.untracked += dropped
}

// work does what is due, within the budget.
func (r *run) work(ctx context.Context) {
	now := r.config.Clock.Now()
	for r.pacer.Wait(now) == 0 {
		p := r.table.nextDue(now)
		if p == nil || ctx.Err() != nil {
			break
		}
		r.spend(func() { r.check(ctx, p) })
		now = r.config.Clock.Now()
	}
	if !now.Before(r.nextLimits) && r.pacer.Wait(now) == 0 {
		r.spend(func() { r.readLimits(ctx) })
		r.nextLimits = r.config.Clock.Now().Add(limitInterval)
	}
	if !now.Before(r.nextSave) {
		r.spend(r.save)
		r.nextSave = r.config.Clock.Now().Add(saveInterval)
	}
}

func (r *run) spend(work func()) {
	cpu := pacing.MeasureCPU(work)
	r.pacer.Spend(r.config.Clock.Now(), cpu)
}

// untilWork returns the time until something is due, and the budget allows it.
func (r *run) untilWork(now monotime.Time) time.Duration {
	next := r.nextLimits
	if p, ok := r.table.firstDue(); ok && p.Before(next) {
		next = p
	}
	if r.table.changed && r.nextSave.Before(next) {
		next = r.nextSave
	}
	return max(next.Sub(now), r.pacer.Wait(now), 0)
}

// check finds out which of its ended sockets a process still holds.
func (r *run) check(ctx context.Context, p *process) {
	started, err := r.config.Processes.StartTime(p.PID)
	if err != nil || p.started != 0 && p.started != started {
		r.table.exited(p)
		return
	}
	p.started = started
	held, err := r.config.Processes.Holding(ctx, p.PID, p.sockets)
	now := r.config.Clock.Now()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.config.Log.Debug("cannot watch the descriptors of a process", "pid", p.PID, "sockets", len(p.sockets), "error", err)
		r.table.abandon(p)
	default:
		r.table.update(p, held, now)
	}
}

// readLimits finds the leaking processes that are near their limits on open files.
func (r *run) readLimits(ctx context.Context) {
	list := r.table.suspects()
	if r.suspects != nil {
		list = append(list, r.suspects(ctx)...)
	}
	r.near = nil
	seen := make(map[int]bool)
	for _, s := range list {
		if seen[s.PID] {
			continue
		}
		if len(seen) == maxSuspects || ctx.Err() != nil {
			break
		}
		seen[s.PID] = true
		files, err := r.config.Processes.OpenFiles(ctx, s.PID)
		if err != nil {
			continue // it has exited, or may not be read
		}
		s.TID, s.FD = 0, 0
		if use := (api.FileUse{Process: s.Process, Pod: s.Pod, Open: files.Open, Limit: files.Limit}); use.IsNearLimit() {
			r.near = append(r.near, use)
		}
	}
	slices.SortFunc(r.near, func(a, b api.FileUse) int {
		return cmp.Or(cmp.Compare(float64(b.Open)/float64(b.Limit), float64(a.Open)/float64(a.Limit)), cmp.Compare(a.PID, b.PID))
	})
	r.near = r.near[:min(len(r.near), api.MaxHolders)]
}
