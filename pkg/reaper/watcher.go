// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// pruneAfter is how long the record of a deleted network namespace is kept.
const pruneAfter = 10 * time.Minute

// watcher takes a census of this node's records when a record is written or removed, and at least twice a minute: a
// network namespace may be deleted without a DEL.
type watcher struct {
	store    *state.Store
	root     *netns.Root
	clock    monotime.Clock
	boot     string
	never    []netns.Identity // the host's own network namespaces: no record registers them
	log      *slog.Logger
	warnings *warnings
	notify   *dirwatch.Instance
	requests <-chan chan<- struct{} // for a census at once; the watcher closes each after the census

	liveness *netns.Liveness // nil until the first use

	follower   *policyfile.Follower // nil without a policy file
	policyFile policyfile.Current

	minGrace    time.Duration
	resolutions uint64        // how often layers were resolved
	recheck     time.Duration // 0: recordCheckInterval

	last       census
	inertSince map[string]monotime.Time // by file name
	polling    bool                     // a warning that the directory cannot be followed is out
}

const (
	recordDebounce      = 10 * time.Millisecond
	recordCheckInterval = 30 * time.Second // without a change
	recordPollInterval  = time.Second      // where changes are not announced
)

// watch calls take with each census until ctx is done.
func (w *watcher) watch(ctx context.Context, take func(census)) error {
	dirs := w.notify.Watch(dirwatch.Config{
		Debounce: recordDebounce, Recheck: cmp.Or(w.recheck, recordCheckInterval), Poll: recordPollInterval,
	})
	defer dirs.Close()
	var waiting chan<- struct{} // closed once the census has been taken in
	var policyFiles <-chan policyfile.Current
	if w.follower != nil {
		policyFiles = w.follower.Changes()
		select { // no record counts before the policy file is known
		case c := <-policyFiles:
			w.setPolicyFile(c)
		case <-ctx.Done():
			return nil
		}
	}
	for {
		w.follow(dirs)
		w.last = w.census(ctx, w.clock.Now())
		if ctx.Err() != nil { // not all records may have been read
			return nil
		}
		take(w.last)
		if waiting != nil {
			close(waiting)
			waiting = nil
		}
		timer := time.NewTimer(dirs.Interval())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case waiting = <-w.requests:
			if c, ok := w.refreshPolicyFile(ctx); ok {
				w.setPolicyFile(c)
			}
		case c := <-policyFiles:
			w.setPolicyFile(c)
		case burst := <-dirs.Changes():
			if burst.Missed != nil { // such as an overflow of the kernel's queue
				w.warnings.warn(WarnRecords, "missed changes of the attachments directory: reading it again", "error", burst.Missed)
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// follow creates the attachments directory if it does not exist, and follows its changes. It warns once while it cannot.
func (w *watcher) follow(dirs *dirwatch.Watcher) {
	err := os.MkdirAll(w.store.AttachmentsDir(), 0o700)
	if err == nil {
		err = dirs.Follow(w.store.AttachmentsDir())
	}
	if err != nil && !w.polling {
		w.warnings.warn(WarnRecords, "cannot follow the attachments directory: reading it every second instead", "error", err)
	}
	w.polling = err != nil
}
