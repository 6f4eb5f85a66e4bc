// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// loop owns all of the reaper's state. Its methods are called by its one goroutine only.
type loop struct {
	cfg           Config
	boot          string
	clock         monotime.Clock
	log           *slog.Logger
	warnings      *warnings
	registry      *registry
	tracker       tracker
	caps          *caps
	budget        *budget
	history       *history
	attribution   attribution
	reach         reach
	ages          ages
	saved         savedAges // until the first census
	began         time.Time
	busy          bool                  // the examiner has a job
	spare         *job                  // the last job, for its room
	retarget      bool                  // the finder has to hear of another set of namespaces
	asked         map[*candidate]uint64 // whose questions are out, and their tags
	questions     uint64                // the number sent, which is the last one's tag
	counts        api.Counts
	tally         tally
	histograms    *histograms
	sweeping      sweeping
	finderCosts   finderCosts
	finder        finder.State
	finderKnown   bool          // its first State has been logged
	idleSince     monotime.Time // since when there is no record
	ready         bool          // the records have been read once
	switchProblem string        // that has been warned of
	looksOld      bool          // that has been warned of
	saveEvery     time.Duration
	noticed       map[string]bool // what has been warned of about the records
}

func newLoop(cfg Config, w *warnings, h *histograms, boot, kernelProblem string) *loop {
	caps := newCaps(cfg.Mode, cfg.SwitchPath, kernelProblem)
	l := &loop{
		cfg: cfg, clock: cfg.Clock, boot: boot, log: cfg.Log, warnings: w, tally: newTally(), histograms: h, registry: newRegistry(cfg.MinGrace),
		caps:   caps,
		budget: newBudget(cfg.MaxDestroysPerSecond), history: newHistory(cfg.Log),
		attribution: newAttribution(cfg.Owners, cfg.OwnersBudget, cfg.Clock.Now()),
		saveEvery:   defaultSaveEvery,
		tracker:     newTracker(), ages: newAges(), began: cfg.Clock.Wall(), asked: make(map[*candidate]uint64), idleSince: cfg.Clock.Now(),
		counts: api.Counts{
			Destroyed: make(map[inetdiag.State]uint64), WouldDestroy: make(map[inetdiag.State]uint64),
			Errors: make(map[string]uint64),
		},
	}
	l.attribution.conditions = cfg.Conditions
	l.tracker.histograms = h
	l.tracker.findsOwners, l.tracker.canAsk = cfg.Owners != nil, cfg.Asker != nil
	return l
}

// defaultSaveEvery is how much of the candidates' ages a crash may lose at most.
const defaultSaveEvery = 10 * time.Second

// run is the loop.
func (l *loop) run(ctx context.Context, calls <-chan func(*loop), targets chan []finder.Netns, jobs chan<- *job, results <-chan *job) error {
	save := newSaver(l.cfg.Store.CandidatesPath(), l.warnings)
	defer save.wait()
	saveTick, second := time.NewTicker(l.saveEvery), time.NewTicker(time.Second)
	defer saveTick.Stop()
	defer second.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	l.try(l.clock.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-calls:
			call(l)
		case j := <-results:
			l.busy = false
			l.examined(j, l.clock.Now())
		case k := <-l.attribution.looked:
			l.attributed(k, l.clock.Now())
		case t := <-l.reach.done:
			l.tried(t)
		case <-wake.C:
		case <-saveTick.C:
			if l.tracker.changed && save.start(l.encode) {
				l.tracker.changed = false
			}
		case <-second.C:
			l.history.flush()
			l.keepingUp(l.clock.Now())
			l.try(l.clock.Now())
			if l.idle(l.clock.Now()) {
				return ErrIdle
			}
		}
		if l.caps.refresh(l.clock.Wall()) {
			l.remode(l.clock.Now())
		}
		l.noticeSwitch()
		if l.retarget {
			l.retarget = false
			select {
			case <-targets: // not taken yet, and out of date
			default:
			}
			targets <- l.registry.targets()
		}
		if !l.busy {
			if j := l.nextJob(l.clock.Now(), l.clock.Wall()); j != nil {
				l.busy = true
				jobs <- j // has room: there is only this one
			}
		}
		l.sendQuestions(l.clock.Now())
		l.attribute(l.clock.Now())
		wake.Reset(l.untilWork(l.clock.Now(), l.clock.Wall()))
	}
}

// untilWork is how long there is nothing to do unless something happens.
func (l *loop) untilWork(now monotime.Time, wall time.Time) time.Duration {
	if l.busy {
		return time.Hour // the result wakes the loop
	}
	wait := time.Hour
	if next, ok := l.tracker.next(); ok {
		wait = min(wait, max(next.Sub(now), 0))
	}
	wait = min(wait, l.tracker.untilChoice(now))
	if l.tracker.held.Len() > 0 {
		wait = min(wait, l.budget.wait(wall, l.tracker.held.Len()))
	}
	return wait
}

// idle reports whether there has been no record for as long as the reaper is to stay without one.
func (l *loop) idle(now monotime.Time) bool {
	if !l.ready || len(l.registry.census.records)+len(l.registry.census.inert) > 0 {
		l.idleSince = now
	}
	return l.cfg.IdleExit > 0 && now.Sub(l.idleSince) >= l.cfg.IdleExit
}

// counted takes in a census.
func (l *loop) counted(c census) {
	at := l.clock.Now()
	ch := l.registry.update(c, at)
	for _, ns := range l.registry.namespaces {
		ns.limit = l.caps.limit(ns)
	}
	l.noticeRecords(c)
	for _, ns := range ch.removed {
		l.forget(ns, at)
	}
	for _, ns := range ch.repolicy {
		if !ns.watched() {
			l.forget(ns, at) // no look would ever confirm what is known
			continue
		}
		l.tracker.rejudge(ns, at)
	}
	l.restoreAges(at)
	l.ready = true
	l.retarget = l.retarget || ch.targets
}

// remode judges again, after what may be done on this node has changed, wherever that makes a difference.
func (l *loop) remode(at monotime.Time) {
	l.log.Info("mode changed", "mode", l.caps.view.Effective.String(), "switch_problem", l.caps.view.SwitchProblem)
	for _, ns := range l.registry.namespaces {
		was := ns.mode()
		if ns.limit = l.caps.limit(ns); ns.mode() != was {
			l.tracker.rejudge(ns, at)
		}
	}
}

// encode writes the file of saved candidates.
func (l *loop) encode(w io.Writer) error {
	return encodeCandidates(w, l.boot, func(yield func(savedCandidate) bool) {
		for _, ns := range l.registry.namespaces {
			for _, c := range ns.candidates {
				if !yield(savedCandidate{ns.Identity, c.history}) {
					return
				}
			}
		}
		l.ages.all()(yield)
	})
}
