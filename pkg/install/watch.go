// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Event is what Watch reports.
type Event struct {
	Kind   Kind
	Result Result // of Installed, Restored and Contested
	Err    error  // of Waiting, Failed and Polling
}

// Kind is the kind of an event.
type Kind uint8

// The kinds of events.
const (
	Installed   Kind = 1 + iota // the entry is present for the first time
	Restored                    // the entry or a program was missing, and has been restored
	Contested                   // another tool keeps removing the entry
	Uncontested                 // it has stopped removing it
	Waiting                     // there is no network yet
	Failed                      // the entry cannot be put in place; the watch retries
	Polling                     // the kernel reports no changes of the directories, which are read every second instead
)

// watchTimes are the intervals of a watch.
type watchTimes struct {
	debounce time.Duration // a change is complete when nothing else changes for this long
	recheck  time.Duration // interval of checks without an event
	poll     time.Duration // the same if the kernel reports no events
	busy     time.Duration // delay of the next check while another process writes
}

func defaultTimes() watchTimes {
	return watchTimes{debounce: 100 * time.Millisecond, recheck: 30 * time.Second, poll: time.Second, busy: 500 * time.Millisecond}
}

// Watch installs, and keeps the installation in place until ctx ends. It waits for the first network. It restores the
// entry when another process rewrites the file or when runtimes choose another file, and a program that is removed. If
// another tool keeps removing the entry, it backs off. It calls report for one event at a time, and once for each
// condition.
//
// It returns an error if a directory that is mounted into a container has been deleted on the node, since only a new mount
// shows the directory that replaced it.
func Watch(ctx context.Context, c Config, report func(Event)) error {
	w := watch{config: c, report: report, backoff: newBackoff(), times: defaultTimes()}
	return w.run(ctx)
}

// watch is the state of a Watch.
type watch struct {
	config    Config
	report    func(Event)
	backoff   backoff
	times     watchTimes
	installed bool
	reported  string // the text of the last reported error, "" if it is over
	busyCount int    // checks in a row that found another process writing
	polling   bool   // reported
	fatal     error  // why the watch cannot continue
}

func (w *watch) run(ctx context.Context) error {
	dirs := dirwatch.New(dirwatch.Config{Debounce: w.times.debounce, Recheck: w.times.recheck, Poll: w.times.poll})
	defer dirs.Close()
	for {
		// First follow, then read: a change in between causes an event.
		interval := w.follow(dirs)
		next := w.check(ctx, time.Now())
		if w.fatal != nil {
			return w.fatal
		}
		timer := time.NewTimer(min(next, interval))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-dirs.Changes():
		}
		timer.Stop()
	}
}

// follow follows the directories that exist now, and returns the interval of checks without an event.
func (w *watch) follow(dirs *dirwatch.Watcher) time.Duration {
	var paths []string
	missing := false
	for _, dir := range []string{w.config.ConfDir, w.config.BinDir} {
		path, err := hostfs.Dir(w.config.HostRoot).Resolve(dir)
		if err != nil {
			missing = true
			continue
		}
		paths = append(paths, path)
	}
	err := dirs.Follow(paths...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !w.polling {
		w.polling = true
		w.report(Event{Kind: Polling, Err: err})
	}
	if missing {
		return w.times.poll
	}
	return dirs.Interval()
}

// check installs missing programs and a missing entry, and returns the maximum delay of the next check.
func (w *watch) check(ctx context.Context, now time.Time) time.Duration {
	programs, err := w.config.putPrograms(ctx, w.installed)
	if err != nil {
		return w.failed(ctx, err)
	}
	if w.installed && programs.changed() {
		w.report(Event{Kind: Restored, Result: Result{Programs: programs}})
		programs = w.config.programs()
	}
	if w.installed {
		dry := w.config
		dry.DryRun = true
		r, err := dry.chain(ctx)
		if err != nil {
			return w.failed(ctx, err)
		}
		if !r.Changed {
			return w.succeeded(now)
		}
		if at := w.backoff.next(now); at.After(now) {
			return min(at.Sub(now), w.times.recheck)
		}
	}
	r, err := w.config.chain(ctx)
	r = w.config.complete(r, programs)
	switch {
	case r.Changed && (w.installed || err != nil): // with an error: it has been removed again
		contested := w.backoff.restored(now)
		kind := Installed
		if w.installed {
			kind = Restored
		}
		w.report(Event{Kind: kind, Result: r})
		if contested {
			w.report(Event{Kind: Contested, Result: r})
		}
		w.installed = true
	case err == nil && !w.installed:
		w.report(Event{Kind: Installed, Result: r})
		w.installed = true
	}
	if err != nil {
		return w.failed(ctx, err)
	}
	return w.succeeded(now)
}

// succeeded records that the entry is present.
func (w *watch) succeeded(now time.Time) time.Duration {
	w.reported, w.busyCount = "", 0
	if w.backoff.isOver(now) {
		if w.backoff.count >= contestedCount {
			w.report(Event{Kind: Uncontested})
		}
		w.backoff.count = 0
	}
	return w.times.recheck
}

// maxUnreportedBusy is how many checks in a row may find another process writing before the watch reports it.
const maxUnreportedBusy = 9

// failed reports an error, unless it is the last one that was reported.
func (w *watch) failed(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return w.times.recheck
	}
	kind, next := Failed, w.times.recheck
	switch {
	case errors.Is(err, hostfs.ErrDeleted):
		w.fatal = err
		return 0
	case errors.Is(err, atomicdir.ErrBusy):
		next = w.times.busy
		if w.busyCount++; w.busyCount <= maxUnreportedBusy {
			return next
		}
	case errors.Is(err, ErrNoNetwork):
		kind = Waiting
	}
	if err.Error() != w.reported {
		w.reported = err.Error()
		w.report(Event{Kind: kind, Err: err})
	}
	return next
}

// backoff delays the restoration of an entry that another tool keeps removing: the first time it is immediate, then the
// delay doubles up to the maximum. It is reset when the entry has stayed for the reset time.
type backoff struct {
	initial, maximum, reset time.Duration
	last                    time.Time // of the last restoration
	count                   int       // restorations since the last reset
}

// contestedCount is how many restorations in a row are reported as a conflict.
const contestedCount = 3

func newBackoff() backoff {
	return backoff{initial: time.Second, maximum: 5 * time.Minute, reset: 10 * time.Minute}
}

// next returns when an entry that is missing now may be restored.
func (b *backoff) next(now time.Time) time.Time {
	if b.isOver(now) {
		b.count = 0
	}
	if b.count == 0 {
		return now
	}
	delay := b.maximum
	if doublings := b.count - 1; doublings < 20 {
		delay = min(b.initial<<doublings, b.maximum)
	}
	return b.last.Add(delay)
}

// restored records a restoration, and reports whether it is the one from which on the entry is contested.
func (b *backoff) restored(now time.Time) bool {
	b.last = now
	b.count++
	return b.count == contestedCount
}

// isOver reports whether the entry, which is present, has stayed long enough.
func (b *backoff) isOver(now time.Time) bool { return b.count > 0 && now.Sub(b.last) >= b.reset }
