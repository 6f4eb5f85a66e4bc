// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"log/slog"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/census"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// loop owns the reaper's state. Only its goroutine calls its methods.
type loop struct {
	cfg           Config
	boot          string
	clock         monotime.Clock
	log           *slog.Logger
	warnings      *warnings
	registry      *registry
	tracker       tracker
	caps          *caps
	progress      *progressBudget
	budget        *budget
	history       *history
	owners        ownerLookups
	access        access
	ages          ages
	saved         savedAges // until the first census
	began         time.Time
	examining     bool                  // the examiner has a job
	spareJob      *job                  // the previous job, whose slices are reused
	netnsChanged  bool                  // the finder needs the new set of network namespaces
	asked         map[*candidate]uint64 // the tags of the questions under way
	questions     uint64                // sent so far; also the tag of the last one
	counts        api.Counts
	tally         tally
	histograms    *histograms
	sweeping      sweeping
	finderCosts   finderCosts
	finder        finder.State
	finderKnown   bool          // its first State has been logged
	idleSince     monotime.Time // since when there is no record
	ready         bool          // the records have been read once
	switchProblem string        // the last one that was logged
	// loggedSwitches are the switches in force that were logged.
	loggedSwitches state.Switches
	loggedMode     policy.Mode // the node's effective mode that was logged
	warnedLookAge  bool
	saveInterval   time.Duration
}

func newLoop(cfg Config, w *warnings, h *histograms, boot, kernelProblem string) *loop {
	caps := newCaps(cfg.Mode, cfg.SwitchPath, kernelProblem, cfg.Clock.Wall)
	l := &loop{
		cfg: cfg, clock: cfg.Clock, boot: boot, log: cfg.Log, warnings: w, tally: newTally(), histograms: h, registry: newRegistry(),
		caps: caps, loggedMode: caps.view.Effective,
		budget: newBudget(cfg.MaxDestroysPerSecond), history: newHistory(cfg.Log),
		saveInterval: defaultSaveInterval,
		tracker:      newTracker(), ages: newAges(), began: cfg.Clock.Wall(), asked: make(map[*candidate]uint64), idleSince: cfg.Clock.Now(),
		counts: api.Counts{
			Destroyed: make(map[inetdiag.State]uint64), WouldDestroy: make(map[inetdiag.State]uint64),
			Errors: make(map[string]uint64),
		},
	}
	l.owners = l.newOwnerLookups(cfg.Owners, cfg.OwnersBudget, cfg.Clock.Now())
	l.owners.conditions, l.tracker.readsConditions = cfg.Conditions, cfg.Conditions != nil
	l.progress = newProgressBudget(cfg.ProgressBudget, cfg.Clock.Now())
	l.tracker.histograms = h
	l.registry.sample = cfg.Sample
	l.tracker.findsOwners, l.tracker.canAsk = cfg.Owners != nil, cfg.Asker != nil
	return l
}

// defaultSaveInterval bounds the progress of ages that a crash can lose.
const defaultSaveInterval = 10 * time.Second

// run runs until ctx is done, or returns ErrIdle.
func (l *loop) run(ctx context.Context, calls <-chan func(*loop), targets chan []finder.Netns, jobs chan<- *job, results <-chan *job) error {
	save := newSaver(l.cfg.Store.CandidatesPath(), l.boot, l.warnings, l.cfg.Writes)
	defer save.stop()
	saveTick, second := time.NewTicker(l.saveInterval), time.NewTicker(time.Second)
	defer saveTick.Stop()
	defer second.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	l.startTrial(l.clock.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-calls:
			call(l)
		case j := <-results:
			l.examining = false
			l.progress.measure(j, func() { l.examined(j, l.clock.Now()) })
			l.progress.spend(j, l.clock.Now())
		case k := <-l.owners.results:
			l.owners.finish(k, l.clock.Now())
		case t := <-l.access.done:
			l.finishTrial(t)
		case turn := <-save.turns:
			turn()
		case <-wake.C:
		case <-saveTick.C:
			if !l.tracker.changed && !save.failed.Load() {
				l.history.writeHeld()
			} else if save.start(l.newSavePieces(maxSavedCandidates), l.history.takeHeld) {
				l.tracker.changed = false
			}
		case <-second.C:
			l.history.flush(l.clock.Wall())
			l.checkSweepLag(l.clock.Now())
			l.startTrial(l.clock.Now())
			if l.isIdle(l.clock.Now()) {
				return ErrIdle
			}
		}
		if l.caps.refresh(l.clock.Wall()) {
			l.applyMode(l.clock.Now())
		}
		l.noticeSwitch()
		if l.netnsChanged {
			l.netnsChanged = false
			l.owners.sampleSoon(l.clock.Now())
			select {
			case <-targets: // outdated, and not received yet
			default:
			}
			targets <- l.registry.targets()
		}
		if !l.examining {
			if j := l.nextJob(l.clock.Now(), l.clock.Wall()); j != nil {
				l.examining = true
				jobs <- j // never blocks: capacity 1, at most one job in flight
			}
		}
		l.sendQuestions(l.clock.Now())
		l.owners.start(l.clock.Now())
		wake.Reset(l.untilWork(l.clock.Now(), l.clock.Wall()))
	}
}

// untilWork returns the time until the loop has work without an event.
func (l *loop) untilWork(now monotime.Time, wall time.Time) time.Duration {
	if l.examining {
		return time.Hour // the result wakes the loop
	}
	if l.tracker.examineQ.Len() > 0 { // queued since the last job was made
		return 0
	}
	wait := time.Hour
	if next, ok := l.tracker.nextDue(); ok {
		wait = min(wait, max(next.Sub(now), 0))
	}
	wait = min(wait, l.tracker.untilSelection(now))
	if l.tracker.progressQ.Len() > 0 {
		wait = min(wait, l.progress.wait(now))
	}
	if l.tracker.budgetQ.Len() > 0 {
		wait = min(wait, l.budget.wait(wall, l.tracker.budgetQ.Len()))
	}
	return wait
}

// isIdle reports whether there has been no record for Config.IdleExit.
func (l *loop) isIdle(now monotime.Time) bool {
	if !l.ready || l.registry.census.Active+len(l.registry.census.Inert) > 0 {
		l.idleSince = now
	}
	return l.cfg.IdleExit > 0 && now.Sub(l.idleSince) >= l.cfg.IdleExit
}

// applyCensus updates the registered network namespaces.
func (l *loop) applyCensus(u census.Update) {
	at := l.clock.Now()
	ch := l.registry.update(&u, at)
	for _, ns := range ch.changed {
		ns.limit = l.caps.limit(ns)
	}
	l.reportPolicyCopy(u.PolicyFile.CopyProblem)
	for _, ns := range ch.removed {
		l.forget(ns, at)
	}
	for _, ns := range ch.repolicy {
		if !ns.isSwept() {
			l.forget(ns, at) // no look would confirm its candidates
			continue
		}
		l.tracker.rejudge(ns, at)
	}
	l.restoreAges(ch.changed, at)
	l.ready = true
	l.netnsChanged = l.netnsChanged || ch.targets
}

// applyMode judges the candidates again in each network namespace whose mode changes with the caps.
func (l *loop) applyMode(at monotime.Time) {
	if mode := l.caps.view.Effective; mode != l.loggedMode {
		l.log.Info("mode changed", "mode", mode.String(), "switch_problem", l.caps.view.SwitchProblem)
		l.loggedMode = mode
	}
	for _, ns := range l.registry.namespaces {
		was := ns.mode()
		if ns.limit = l.caps.limit(ns); ns.mode() != was {
			l.tracker.rejudge(ns, at)
		}
	}
}
