// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package dirwatch follows directories with inotify, debounces the changes in them, and falls back to polling where the
// kernel does not announce changes.
//
// Its user loops:
//
//	for {
//		err := w.Follow(dirs...) // before the directories are read: a change between the two is announced
//		... read the directories ...
//		timer := time.NewTimer(w.Interval())
//		select {
//		case burst := <-w.Changes():
//		case <-timer.C:
//		case <-ctx.Done():
//		}
//	}
package dirwatch

import (
	"errors"
	"time"
)

// maxBursts bounds a burst, in debounce times. A longer burst is reported after each such time.
const maxBursts = 10

// Config has the times of a Watcher.
type Config struct {
	Debounce time.Duration // a burst of changes is over after this time without one, or after ten times that
	Recheck  time.Duration // between two readings without a change
	Poll     time.Duration // the same, while a directory is not followed
}

// Watcher reports changes in directories. Changes may be received in any goroutine; the other methods are for one
// goroutine at a time.
type Watcher struct {
	config   Config
	source   source
	err      error // why there is no source
	followed bool
	changes  chan Burst
	closed   chan struct{}
	finished chan struct{}
}

// Burst is a burst of changes.
type Burst struct {
	// Files are the paths of the files that have changed, each once and in no order. The path of a followed directory stands for
	// a change of the directory itself, such as its move.
	Files []string
	// Missed is why Files may lack some, such as an overflow of the kernel's queue; nil if it has all.
	Missed error
}

// maxFiles bounds Burst.Files, and so what a Watcher collects while its user is busy.
const maxFiles = 1024

// errTooManyFiles is the Missed of a burst with more than maxFiles.
var errTooManyFiles = errors.New("more files have changed than are remembered")

// source is as much of fsnotify.Watcher as is used.
type source struct {
	events <-chan struct{} // capacity 1: take returns the files
	errors <-chan error
	take   func() Burst // returns and forgets the changes so far
	add    func(string) error
	close  func() error
}

// New returns a Watcher with an inotify instance of its own. If the kernel has none left, the Watcher only polls, and Follow
// returns why.
func New(c Config) *Watcher {
	i := NewInstance()
	w := i.Watch(c)
	if forget := w.source.close; forget != nil {
		w.source.close = func() error { return errors.Join(forget(), i.Close()) }
	}
	return w
}

func start(c Config, s source) *Watcher {
	w := &Watcher{config: c, source: s, changes: make(chan Burst), closed: make(chan struct{}), finished: make(chan struct{})}
	go w.run()
	return w
}

// Follow follows the directories that exist at these paths now. It is called again before each reading, since a
// directory may have been replaced. Until a later call succeeds, Interval is Config.Poll.
func (w *Watcher) Follow(dirs ...string) error {
	if w.err != nil {
		return w.err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, w.source.add(dir))
	}
	err := errors.Join(errs...)
	w.followed = err == nil
	return err
}

// Interval returns how long to wait for a change before the directories are read anyway.
func (w *Watcher) Interval() time.Duration {
	if !w.followed {
		return w.config.Poll
	}
	return w.config.Recheck
}

// Changes receives each burst of changes. If some were missed, the receiver reads the directories again.
func (w *Watcher) Changes() <-chan Burst { return w.changes }

// Close stops following, and releases the inotify instance of New.
func (w *Watcher) Close() error {
	if w.source.close == nil {
		return nil
	}
	close(w.closed)
	<-w.finished
	return w.source.close()
}

// run reports bursts until the Watcher is closed.
func (w *Watcher) run() {
	defer close(w.finished)
	for {
		var err error
		select {
		case <-w.source.events:
		case err = <-w.source.errors:
		case <-w.closed:
			return
		}
		err = errors.Join(err, w.debounce())
		burst := w.source.take()
		if err != nil {
			burst.Missed = err
		}
		select {
		case w.changes <- burst:
		case <-w.closed:
			return
		}
	}
}

// debounce waits for the end of a burst of changes, and returns the errors that it receives.
func (w *Watcher) debounce() (err error) {
	quiet, latest := time.NewTimer(w.config.Debounce), time.NewTimer(maxBursts*w.config.Debounce)
	defer quiet.Stop()
	defer latest.Stop()
	for {
		select {
		case <-w.source.events:
			quiet.Reset(w.config.Debounce)
		case e := <-w.source.errors:
			err = errors.Join(err, e)
		case <-quiet.C:
			return err
		case <-latest.C:
			return err
		case <-w.closed:
			return err
		}
	}
}
