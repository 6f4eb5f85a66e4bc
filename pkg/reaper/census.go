// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// census has all records of this node, sorted by what can be done with them.
type census struct {
	records  []state.Record  // active ones
	inert    []inertRecord   // such as those of deleted network namespaces
	problems []state.Problem // unreadable and invalid files
	holdList []state.Hold    // files that cap the mode of a netns at observe

	// unlisted is why the directory dir could not be listed. New records are then unknown, and every netns is capped at
	// observe.
	unlisted, dir string

	policyFile policyfile.Current
	resolved   map[string]policy.Resolved // the policies of the active records, by file name
}

// holdsOn returns the files that cap a netns at observe: unreadable and inert ones whose names carry it, or the whole
// directory if that cannot be listed.
func (c *census) holdsOn(id netns.Identity) (holds []state.Hold) {
	if c.unlisted != "" {
		holds = append(holds, state.Hold{Netns: state.KeyOf(id), File: c.dir, Reason: c.unlisted})
	}
	for _, h := range c.holdList {
		if h.Names(id) {
			holds = append(holds, h)
		}
	}
	return holds
}

// inertRecord is a record without effect.
type inertRecord struct {
	record    state.Record
	reason    string
	isFinal   bool // it will not become active again
	isDeleted bool // its netns is proven to be deleted: a runtime has left it without a DEL
}

// census reads all records, classifies them, and prunes files that have been inert for pruneAfter. An unreadable file
// keeps its last known record and caps its netns at observe: a registration ends only when its record is removed.
// If ctx is done it returns the last census.
func (w *watcher) census(ctx context.Context, now monotime.Time) census {
	listing, err := w.store.List(ctx)
	if ctx.Err() != nil {
		return w.last
	}
	if err != nil {
		w.warnings.fail(WarnRecords, "cannot list the attachments: the known ones stay registered and are only observed", "error", err)
		c := w.last
		c.unlisted, c.dir = err.Error(), w.store.AttachmentsDir()
		c.problems = []state.Problem{{File: w.store.AttachmentsDir(), Err: err}}
		c.policyFile, c.resolved = w.policyFile, w.resolve(c.records)
		return c
	}
	c := census{problems: listing.Problems, holdList: listing.Holds, policyFile: w.policyFile}
	inertSince := make(map[string]monotime.Time)
	for _, r := range slices.Concat(listing.Records, w.unreadable(listing.Problems)) {
		reason, final := w.classify(r)
		if reason == "" {
			c.records = append(c.records, r)
			continue
		}
		c.inert = append(c.inert, inertRecord{record: r, reason: reason, isFinal: final})
		// The path may disappear before the netns does. Until then the record's policy must not be exceeded.
		c.holdList = append(c.holdList, w.holdOf(r, reason))
	}
	w.proveDeleted(&c)
	for _, r := range c.inert {
		if r.isFinal && w.isExpired(fileName(r.record), inertSince, now) && r.isDeleted {
			w.prune(r.record)
		}
	}
	var expired []state.Hold
	for _, h := range listing.Holds {
		if w.isExpired(h.File, inertSince, now) {
			expired = append(expired, h)
		}
	}
	for i, ended := range w.areEnded(expired, c.records) {
		if h := expired[i]; ended {
			w.log.Info("pruned an invalid record of a deleted network namespace", "file", h.File, "error", w.store.Prune(h.File))
		}
	}
	for _, p := range listing.Problems {
		holds := slices.ContainsFunc(listing.Holds, func(h state.Hold) bool { return h.File == p.File })
		if p.OtherBoot && !holds && w.isExpired(p.File, inertSince, now) {
			w.log.Info("pruned a record of an earlier boot", "file", p.File, "error", w.store.Prune(p.File))
		}
	}
	w.inertSince = inertSince
	c.resolved = w.resolve(c.records)
	return c
}

// resolve returns the policies of records. It reuses those of an unchanged record under an unchanged policy file, since a
// pod can choose annotations that take long to parse. It runs here and not on the loop for the same reason.
func (w *watcher) resolve(records []state.Record) map[string]policy.Resolved {
	known := make(map[string]*state.Record, len(w.last.records))
	for i := range w.last.records {
		known[fileName(w.last.records[i])] = &w.last.records[i]
	}
	sameFile := w.policyFile.Same(&w.last.policyFile)
	resolved := make(map[string]policy.Resolved, len(records))
	for i := range records {
		name := fileName(records[i])
		was, ok := w.last.resolved[name]
		if before := known[name]; !ok || !sameFile || before == nil || !reflect.DeepEqual(before.Layers, records[i].Layers) {
			was = w.resolveRecord(&records[i])
		}
		resolved[name] = was
	}
	return resolved
}

func (w *watcher) resolveRecord(r *state.Record) policy.Resolved {
	w.resolutions++
	return w.policyFile.Resolve(r.Layers, policyfile.FactsOf(r), w.minGrace)
}

// unreadable returns the last known records of files that cannot be read now. A file with invalid content is not one.
func (w *watcher) unreadable(problems []state.Problem) []state.Record {
	var known []state.Record
	for _, p := range problems {
		if _, ok := errors.AsType[unix.Errno](p.Err); !ok {
			continue // it was read, and its content is invalid
		}
		for _, r := range w.last.records {
			if fileName(r) == p.File {
				known = append(known, r)
			}
		}
	}
	return known
}

// classify returns why a record is inert, "" if it is active, and whether that is final. If its path cannot be opened
// although it exists, the record is active, since the finder opens it again and reports the error; unless its file system
// does not answer.
func (w *watcher) classify(r state.Record) (reason string, final bool) {
	if r.Boot != w.boot {
		return "recorded before the last boot", true
	}
	for _, id := range w.never {
		if id.Same(r.Netns.Identity) {
			return "this is the host's own network namespace, which needs --allow-host-netns", false
		}
	}
	h, err := w.root.Open(r.Netns.Path)
	switch {
	case err != nil && netns.IsGone(err):
		if !w.root.SeesDirOf(r.Netns.Path) {
			return fmt.Sprintf("%v, and its directory does not exist either: in a container, mount the host's directory with propagation", err), false
		}
		return err.Error(), true
	case errors.Is(err, netns.ErrHangs):
		return err.Error(), false
	case err != nil:
		return "", false
	}
	defer h.Close()
	if !h.Stat().Same(r.Netns.Identity) {
		return fmt.Sprintf("%s: %v", r.Netns.Path, netns.ErrMismatch), true
	}
	if r.Netns.Cookie == 0 {
		return cookieless(h), false
	}
	return "", false
}

// cookieless returns why a record without a netns cookie is inert, "" if this kernel has no cookies. Where it has, the
// path could lead to a later namespace with the same inode number.
func cookieless(h *netns.Handle) string {
	id, err := h.Identify()
	switch {
	case err != nil:
		return fmt.Sprintf("recorded without a netns cookie, and %v", err)
	case id.Cookie != 0:
		return "recorded without a netns cookie, although this kernel has them: it may be a different namespace"
	}
	return ""
}

// holdOf returns the cap of an inert record on its netns.
func (w *watcher) holdOf(r state.Record, reason string) state.Hold {
	return state.Hold{Netns: state.KeyOf(r.Netns.Identity), File: fileName(r), Reason: reason, OtherBoot: r.Boot != w.boot}
}

// isExpired records in next since when a file has been inert, and reports whether that is pruneAfter or longer.
func (w *watcher) isExpired(name string, next map[string]monotime.Time, now monotime.Time) bool {
	since, ok := w.inertSince[name]
	if !ok {
		since = now
	}
	next[name] = since
	return now.Sub(since) >= pruneAfter
}

// proveDeleted finds out which of the records that stay inert are of deleted network namespaces.
func (w *watcher) proveDeleted(c *census) {
	var final []*inertRecord
	var holds []state.Hold
	for i := range c.inert {
		if r := &c.inert[i]; r.isFinal {
			final, holds = append(final, r), append(holds, w.holdOf(r.record, r.reason))
		}
	}
	for i, ended := range w.areEnded(holds, c.records) {
		final[i].isDeleted = ended
	}
}

// areEnded reports which network namespaces are proven to be deleted: by the kernel, or because neither a record's path
// nor a process leads to them.
func (w *watcher) areEnded(holds []state.Hold, records []state.Record) []bool {
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
		if slices.ContainsFunc(records, func(r state.Record) bool { return h.Names(r.Netns.Identity) }) {
			ended[i] = false
		}
	}
	return ended
}

// inertAttachments returns how many inert records may be of existing network namespaces. The others are left over, and
// are pruned.
func (c *census) inertAttachments() int {
	n := 0
	for _, r := range c.inert {
		if !r.isDeleted {
			n++
		}
	}
	return n
}

// prune deletes the file of an inert record, unless it has been rewritten since.
func (w *watcher) prune(r state.Record) {
	current, err := w.store.Get(r.Attachment)
	if err == nil && current.Netns == r.Netns && !current.Time.Equal(r.Time) {
		return
	}
	w.log.Info("pruned the record of a deleted network namespace", "container", r.ContainerID, "ifname", r.IfName,
		"pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name, "error", w.store.Prune(fileName(r)))
}

// fileName returns the file name of a listed record.
func fileName(r state.Record) string {
	name, _ := r.FileName() // no error: it was listed under that name
	return name
}
