// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// pruneAfter is how long a record without a namespace is kept.
const pruneAfter = 10 * time.Minute

// watcher takes the census of this node's records, whenever one comes or goes and at least twice a minute:
// a namespace may end without any DEL.
type watcher struct {
	store    *state.Store
	root     *netns.Root
	clock    monotime.Clock
	boot     string
	never    []netns.Identity // namespaces that are not touched whatever is recorded
	log      *slog.Logger
	warnings *warnings
	asked    <-chan chan<- struct{} // for a census now; what comes is closed once that has been taken in

	liveness *netns.Liveness // nil until it is needed

	minGrace    time.Duration
	resolutions uint64        // how often layers were resolved
	every       time.Duration // without a change, if not recount

	last    census
	useless map[string]monotime.Time // since when a file has been of no use, by its name
}

// The watcher's times: how soon after a change it looks, and how often without one.
const (
	settle     = 10 * time.Millisecond
	recount    = 30 * time.Second
	recountBad = time.Second // where changes are not announced
)

// watch calls take with each census until ctx ends.
func (w *watcher) watch(ctx context.Context, take func(census)) error {
	every := cmp.Or(w.every, recount)
	var (
		events chan fsnotify.Event
		failed chan error      // has to be read, or there are no more events
		taken  chan<- struct{} // who waits for the census
	)
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer notify.Close()
		events, failed = notify.Events, notify.Errors
		err = w.follow(notify)
	}
	if err != nil {
		w.warnings.warn(WarnRecords, "changes of the attachments directory are not announced: it is read every second instead", "error", err)
		events, every = nil, recountBad
	}
	follow := func() {
		if events == nil {
			return
		}
		if err := w.follow(notify); err != nil { // the directory may have been replaced
			w.warnings.warn(WarnRecords, "follow the attachments directory", "error", err)
		}
	}
	for {
		w.last = w.census(ctx, w.clock.Now())
		if ctx.Err() != nil { // the records may not all have been read
			return nil
		}
		take(w.last)
		if taken != nil {
			close(taken)
			taken = nil
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-timer.C:
			follow()
		case taken = <-w.asked:
			follow()
		case <-events:
			w.drain(ctx, events)
			follow() // the directory itself may be what has gone
		case err := <-failed: // such as more changes at once than the kernel keeps
			w.warnings.warn(WarnRecords, "changes of the attachments directory were missed: it is read again", "error", err)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// follow makes sure that the directory is there and its changes are announced.
func (w *watcher) follow(notify *fsnotify.Watcher) error {
	if err := os.MkdirAll(w.store.AttachmentsDir(), 0o700); err != nil {
		return fmt.Errorf("make the attachments directory: %w", err)
	}
	return notify.Add(w.store.AttachmentsDir())
}

// drain waits until a burst of changes has settled.
func (w *watcher) drain(ctx context.Context, events <-chan fsnotify.Event) {
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	latest := time.After(10 * settle)
	for {
		select {
		case <-events:
			quiet.Reset(settle)
		case <-quiet.C:
			return
		case <-latest:
			return
		case <-ctx.Done():
			return
		}
	}
}
