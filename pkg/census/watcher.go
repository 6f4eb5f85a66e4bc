// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// Config is the configuration of a Watcher. All fields are required, except as documented.
type Config struct {
	Store    *state.Store
	Root     *netns.Root // resolves the paths of records
	Clock    monotime.Clock
	Boot     string               // of this machine: records of others are inert
	Never    []netns.Identity     // the host's own network namespaces: no record registers them
	MinGrace time.Duration        // raises shorter graces of records to it; 0 raises none
	Follower *policyfile.Follower // nil without a policy file
	Notify   *dirwatch.Instance
	Log      *slog.Logger
	Warnings Warnings
	// Requests receives requests for a census that reads everything again. The channel in a request is closed after that.
	Requests <-chan chan<- struct{}
}

// Warnings logs problems, and counts them by kind.
type Warnings interface {
	Warn(kind, text string, args ...any) // an operator should fix it
	Fail(kind, text string, args ...any) // it keeps the reaper from reading records or policies
}

// The kinds of warnings, as they are counted.
const (
	WarnRecords    = "records"     // invalid records, records with warnings, missed changes
	WarnPolicyFile = "policy-file" // the node's policy file is wrong
)

// Watcher takes a census of a node's records.
type Watcher struct {
	Config
	roll     *roll
	reader   *state.Reader
	queue    queue
	liveness *netns.Liveness // nil until the first use
	pacer    *pacing.Pacer

	policyFile  policyfile.Current
	resolutions uint64 // how often layers were resolved

	interval time.Duration // recordCheckInterval, except in tests
	polling  bool          // a warning that the directory cannot be followed is out
}

const (
	recordDebounce      = 10 * time.Millisecond
	recordCheckInterval = 30 * time.Second // without a change
	recordPollInterval  = time.Second      // where changes are not announced

	// cpuShare bounds what changes cost, as a share of one core: then they are collected for up to maxPause.
	cpuShare = 0.01
	maxPause = time.Second
)

// NewWatcher returns a Watcher. It does nothing until Run.
func NewWatcher(c Config) *Watcher {
	return &Watcher{
		Config: c, roll: newRoll(), reader: c.Store.NewReader(), queue: newQueue(),
		pacer: pacing.New(cpuShare, c.Clock.Now()), interval: recordCheckInterval,
	}
}

// Run takes a census at once, and calls take with it and with each change until ctx is done.
func (w *Watcher) Run(ctx context.Context, take func(Update)) error {
	dirs := w.Notify.Watch(dirwatch.Config{Debounce: recordDebounce, Recheck: w.interval, Poll: recordPollInterval})
	defer dirs.Close()
	var policyFiles <-chan policyfile.Current
	if w.Follower != nil {
		policyFiles = w.Follower.Changes()
		select { // no record counts before the policy file is known
		case c := <-policyFiles:
			w.setPolicyFile(c)
		case <-ctx.Done():
			return nil
		}
	}
	next := turn{all: true, isFirst: true}
	listed, checked := w.Clock.Now(), w.Clock.Now()
	for {
		w.follow(dirs)
		w.pacer.Spend(w.Clock.Now(), pacing.MeasureCPU(func() { w.take(ctx, next, take) }))
		if ctx.Err() != nil { // not all records may have been read
			return nil
		}
		if next.all {
			listed = w.Clock.Now()
		}
		if next.slice {
			checked = w.Clock.Now()
		}
		untilList, untilCheck := listed.Add(dirs.Interval()), checked.Add(w.queue.interval(w.interval))
		timer := time.NewTimer(max(min(untilList, untilCheck).Sub(w.Clock.Now()), 0))
		next = turn{}
		if wait := min(w.pacer.Wait(w.Clock.Now()), maxPause); wait > 0 && !pause(ctx, wait) {
			timer.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case next.waiting = <-w.Requests:
			next.all, next.isFresh = true, true
			if c, ok := w.refreshPolicyFile(ctx); ok {
				w.setPolicyFile(c)
			}
		case c := <-policyFiles:
			w.setPolicyFile(c)
		case burst := <-dirs.Changes():
			next.all = burst.Missed != nil
			if next.all { // such as an overflow of the kernel's queue
				w.Warnings.Warn(WarnRecords, "missed changes of the attachments directory: reading it again", "error", burst.Missed)
			}
			for _, file := range burst.Files {
				if file == w.Store.AttachmentsDir() { // it was moved or deleted
					next.all = true
					continue
				}
				next.files = append(next.files, filepath.Base(file))
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		now := w.Clock.Now()
		next.all, next.slice = next.all || !now.Before(untilList), !now.Before(untilCheck)
	}
}

// take makes a turn, and passes on what has changed.
func (w *Watcher) take(ctx context.Context, t turn, take func(Update)) {
	w.turn(ctx, t, w.Clock.Now())
	if ctx.Err() != nil {
		return
	}
	if u, isChanged := w.roll.update(); isChanged || t.isFirst {
		take(u)
	}
	if t.waiting != nil {
		close(t.waiting)
	}
}

// pause waits, and reports whether ctx is still not done.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// follow creates the attachments directory if it does not exist, and follows its changes. It warns once while it cannot.
func (w *Watcher) follow(dirs *dirwatch.Watcher) {
	err := os.MkdirAll(w.Store.AttachmentsDir(), 0o700)
	if err == nil {
		err = dirs.Follow(w.Store.AttachmentsDir())
	}
	if err != nil && !w.polling {
		w.Warnings.Warn(WarnRecords, "cannot follow the attachments directory: reading it every second instead", "error", err)
	}
	w.polling = err != nil
}

// maxSlice is how many paths are checked together.
const maxSlice = 64

// queue has the names of all files in the order in which their paths are checked.
type queue struct {
	names []string
	has   map[string]bool
}

func newQueue() queue { return queue{has: make(map[string]bool)} }

func (q *queue) add(name string) {
	if !q.has[name] {
		q.has[name] = true
		q.names = append(q.names, name)
	}
}

// pop removes and returns the first names.
func (q *queue) pop() []string {
	names := q.names[:min(len(q.names), maxSlice)]
	q.names = q.names[len(names):]
	for _, name := range names {
		delete(q.has, name)
	}
	return names
}

// interval returns the time between two slices, so that each name is in one within the time all.
func (q *queue) interval(all time.Duration) time.Duration {
	return all / time.Duration(cmp.Or((len(q.names)+maxSlice-1)/maxSlice, 1))
}
