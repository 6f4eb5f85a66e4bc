// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// pruneAfter is how long the record of a deleted network namespace is kept.
const pruneAfter = 10 * time.Minute

// proveDeleted finds out which of the records that stay inert are of deleted network namespaces. Without all it considers only
// records without a proof.
func (w *Watcher) proveDeleted(all bool) {
	var entries []*entry
	var holds []*state.Hold
	for name := range w.roll.idle {
		if e := w.roll.entries[name]; e.inert != nil && e.inert.final && (all || !e.inert.Deleted) {
			entries, holds = append(entries, e), append(holds, e.hold)
		}
	}
	for i, ended := range w.areEnded(holds) {
		if e := entries[i]; e.inert.Deleted != ended {
			next := *e
			inert := *e.inert
			inert.Deleted = ended
			next.inert = &inert
			w.roll.set(&next)
		}
	}
}

// areEnded reports which network namespaces are proven to be deleted: by the kernel, or because neither a record's path
// nor a process leads to them.
func (w *Watcher) areEnded(holds []*state.Hold) []bool {
	if len(holds) == 0 {
		return nil
	}
	if w.liveness == nil {
		w.liveness = netns.NewLiveness()
	}
	ids := make([]netns.Identity, len(holds))
	for i, h := range holds {
		ids[i] = netns.Identity{Cookie: h.Netns.Cookie, Inode: h.Netns.Inode}
	}
	ended := w.liveness.EndedEach(ids)
	for i, h := range holds {
		if w.roll.isRegistered(h) {
			ended[i] = false
		}
	}
	return ended
}

// prune deletes the files that may have been pruned for pruneAfter.
func (w *Watcher) prune(now monotime.Time) {
	var holding []*entry
	var holds []*state.Hold
	for name := range w.roll.idle {
		e := w.roll.entries[name]
		if e.since.IsZero() || now.Sub(e.since) < pruneAfter {
			continue
		}
		switch {
		case e.inert != nil:
			if e.inert.Deleted {
				w.pruneRecord(e)
			}
		case e.hold != nil:
			holding, holds = append(holding, e), append(holds, e.hold)
		default:
			w.Log.Info("pruned a record of an earlier boot", "file", e.name, "error", w.Store.Prune(e.name))
		}
	}
	for i, ended := range w.areEnded(holds) {
		if ended {
			w.Log.Info("pruned an invalid record of a deleted network namespace", "file", holding[i].name, "error", w.Store.Prune(holding[i].name))
		}
	}
}

// pruneRecord deletes the file of an inert record, unless it has been rewritten since.
func (w *Watcher) pruneRecord(e *entry) {
	r := e.record
	current, err := w.Store.Get(r.Attachment)
	if err == nil && current.Netns == r.Netns && !current.Time.Equal(r.Time) {
		return
	}
	w.Log.Info("pruned the record of a deleted network namespace", "container", r.ContainerID, "ifname", r.IfName,
		"pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name, "error", w.Store.Prune(e.name))
}
