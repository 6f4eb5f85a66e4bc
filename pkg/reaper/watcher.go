// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/namespace"
	"github.com/halfclose/halfclose/pkg/state"
)

// pruneAfter is how long a record without a namespace is kept.
const pruneAfter = 10 * time.Minute

// watcher takes the census of this node's records, whenever one comes or goes and at least twice a minute:
// a namespace may end without any DEL.
type watcher struct {
	store   *state.Store
	root    *namespace.Root
	boot    string
	never   []namespace.Identity // namespaces that are not touched whatever is recorded
	log     *slog.Logger
	useless map[string]monotime.Time // since when a file has been of no use, by attachment or file name
}

// The watcher's times: how soon after a change it looks, and how often without one.
const (
	settle     = 10 * time.Millisecond
	recount    = 30 * time.Second
	recountBad = time.Second // where changes are not announced
)

// watch calls take with each census until ctx ends.
func (w *watcher) watch(ctx context.Context, take func(census)) error {
	every := recount
	var events chan fsnotify.Event
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer notify.Close()
		events = notify.Events
		err = w.follow(notify)
	}
	if err != nil {
		w.log.Warn("changes of the attachments directory are not announced: it is read every second instead", "error", err)
		events, every = nil, recountBad
	}
	w.useless = make(map[string]monotime.Time)
	for {
		take(w.census(monotime.Now()))
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-timer.C:
			if events != nil {
				if err := w.follow(notify); err != nil { // the directory may have been replaced
					w.log.Warn("follow the attachments directory", "error", err)
				}
			}
		case <-events:
			w.drain(ctx, events)
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

// census reads all records, sorts them by what can be done about them, and prunes what has been of no use
// for long.
func (w *watcher) census(now monotime.Time) census {
	listing, err := w.store.List()
	if err != nil {
		w.log.Error("list the attachments", "error", err)
		return census{problems: []state.Problem{{File: w.store.AttachmentsDir(), Err: err}}}
	}
	c := census{problems: listing.Problems}
	useless := make(map[string]monotime.Time)
	for _, r := range listing.Records {
		reason, ended := w.judge(r)
		if reason == "" {
			c.records = append(c.records, r)
			continue
		}
		c.inert = append(c.inert, inertRecord{r, reason})
		if ended && w.overdue(r.ContainerID+"@"+r.IfName, useless, now) {
			w.prune(r)
		}
	}
	for _, p := range listing.Problems {
		if p.OtherBoot && w.overdue(p.File, useless, now) {
			w.log.Info("prune a file of another boot", "file", p.File, "error", w.store.Prune(p.File))
		}
	}
	w.useless = useless
	return c
}

// judge says why nothing can be done about a record, "" if something can, and whether that is for good.
func (w *watcher) judge(r state.Record) (reason string, ended bool) {
	if r.Boot != w.boot {
		return "recorded before the last boot", true
	}
	for _, id := range w.never {
		if id.Same(r.Netns.Identity) {
			return "it is the host's own namespace, which is never touched without --allow-host-netns", false
		}
	}
	h, err := w.root.Open(r.Netns.Path)
	if err != nil {
		return err.Error(), gone(err)
	}
	defer h.Close()
	if !h.Stat().Same(r.Netns.Identity) {
		return fmt.Sprintf("%s: %v", r.Netns.Path, errOtherNamespace), true
	}
	return "", false
}

// overdue notes in next that a file is of no use, and reports whether it has been for long enough.
func (w *watcher) overdue(name string, next map[string]monotime.Time, now monotime.Time) bool {
	since, ok := w.useless[name]
	if !ok {
		since = now
	}
	next[name] = since
	return now.Sub(since) >= pruneAfter
}

// prune deletes a record that has been of no use for long, unless it has been replaced meanwhile.
func (w *watcher) prune(r state.Record) {
	current, err := w.store.Get(r.Attachment)
	if err != nil || current.Netns != r.Netns || !current.Time.Equal(r.Time) {
		return
	}
	w.log.Info("prune a record whose namespace is gone", "container", r.ContainerID, "ifname", r.IfName,
		"pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name, "error", w.store.Delete(r.Attachment))
}
