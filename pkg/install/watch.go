// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Event is something that Watch tells.
type Event struct {
	Kind   Kind
	Result Result // of Installed, PutBack and Contested
	Err    error  // of Waiting, Failed and Polling
}

// Kind says what happened.
type Kind uint8

// The kinds of events.
const (
	Installed Kind = 1 + iota // the entry is there for the first time
	PutBack                   // it, or a program, was gone, and is there again
	Contested                 // it was put back again and again: somebody else takes it out each time
	Calm                      // it was contested, and is no more
	Waiting                   // there is no network yet
	Failed                    // something keeps it from being there; it is tried again
	Polling                   // changes of the directory are not announced: it is read every second
)

// watchTimes are the times of a watch.
type watchTimes struct {
	settle  time.Duration // how long after a change nothing must change for it to be over
	recheck time.Duration // how often it looks without an event
	poll    time.Duration // how often where there are no events
	busy    time.Duration // how soon it looks again at what somebody is writing
}

func usualTimes() watchTimes {
	return watchTimes{settle: 100 * time.Millisecond, recheck: 30 * time.Second, poll: time.Second, busy: 500 * time.Millisecond}
}

// Watch is Install, again and again until ctx ends: it waits for a network to appear, and puts the entry back
// when another process rewrites the file or another file becomes the one that runtimes choose, and each program when
// that is gone. It does not fight: the more often that was in vain, the longer it waits (see Contested). It
// tells what happens, one event at a time, and each condition once.
//
// It ends with an error where a directory that is mounted, in a container, was deleted on the node: only a new mount
// shows the one that is there now.
func Watch(ctx context.Context, c Config, tell func(Event)) error {
	w := watch{config: c, tell: tell, pace: newPace(), times: usualTimes()}
	return w.run(ctx)
}

// watch is the state of a Watch.
type watch struct {
	config    Config
	tell      func(Event)
	pace      pace
	times     watchTimes
	installed bool
	told      string // of what is wrong
	busy      int    // how often in a row somebody was writing
	ended     error  // why it can do no more
}

func (w *watch) run(ctx context.Context) error {
	f, err := newFollower(w.config)
	if err != nil {
		w.tell(Event{Kind: Polling, Err: err})
		f = &follower{}
	}
	defer f.close()
	for {
		// Followed first and read then: what changes in between is announced.
		followed := f.follow()
		wait := w.look(ctx, time.Now())
		if w.ended != nil {
			return w.ended
		}
		if !followed {
			wait = min(wait, w.times.poll)
		}
		if !f.wait(ctx, wait, w.times.settle) {
			return nil
		}
	}
}

// look sees to it that all is as it should be, and returns how soon to look again at the latest.
func (w *watch) look(ctx context.Context, now time.Time) time.Duration {
	programs, err := w.config.putPrograms(ctx, w.installed)
	if err != nil {
		return w.failed(ctx, err)
	}
	if w.installed && programs.changed() {
		w.tell(Event{Kind: PutBack, Result: Result{Programs: programs}})
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
			return w.fine(now)
		}
		if at := w.pace.next(now); at.After(now) {
			return min(at.Sub(now), w.times.recheck)
		}
	}
	r, err := w.config.chain(ctx)
	r = w.config.complete(r, programs)
	switch {
	case r.Changed && (w.installed || err != nil): // it was put back, or is gone again already
		worse := w.pace.again(now)
		w.tell(Event{Kind: w.kind(), Result: r})
		if worse {
			w.tell(Event{Kind: Contested, Result: r})
		}
		w.installed = true
	case err == nil && !w.installed:
		w.tell(Event{Kind: Installed, Result: r})
		w.installed = true
	}
	if err != nil {
		return w.failed(ctx, err)
	}
	return w.fine(now)
}

// kind is what it is to have written the entry.
func (w *watch) kind() Kind {
	if w.installed {
		return PutBack
	}
	return Installed
}

// fine notes that the entry is there.
func (w *watch) fine(now time.Time) time.Duration {
	w.told, w.busy = "", 0
	if w.pace.rested(now) {
		if w.pace.times >= contested {
			w.tell(Event{Kind: Calm})
		}
		w.pace.times = 0
	}
	return w.times.recheck
}

// busyOften is how often in a row somebody may be writing before that is told.
const busyOften = 10

// failed tells what is wrong, unless it is what was told last.
func (w *watch) failed(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return w.times.recheck
	}
	kind, again := Failed, w.times.recheck
	switch {
	case errors.Is(err, hostfs.ErrDeleted):
		w.ended = err
		return 0
	case errors.Is(err, errBusy):
		again = w.times.busy
		if w.busy++; w.busy < busyOften {
			return again
		}
	case errors.Is(err, ErrNoNetwork):
		kind = Waiting
	}
	if err.Error() != w.told {
		w.told = err.Error()
		w.tell(Event{Kind: kind, Err: err})
	}
	return again
}
