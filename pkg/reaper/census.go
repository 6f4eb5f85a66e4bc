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
	"github.com/halfclose/halfclose/pkg/state"
)

// census is what is recorded on this node, and which of it can be acted on.
type census struct {
	records  []state.Record  // that can be acted on
	inert    []inertRecord   // that cannot, such as those whose namespace is gone
	problems []state.Problem // files that are no record, or cannot be read
	holds    []state.Hold    // what keeps a netns at observe at most, whatever its records ask for (prose:ok: a noun)

	// unlisted is why the records could not be listed, and the directory: what else is recorded by now is not known, and
	// every netns is kept at observe.
	unlisted, dir string

	resolved map[string]policy.Resolved // what the records that can be acted on come to, by file name
}

// heldBy returns what keeps a netns at observe at most: files that speak of it and cannot be read or acted on, or the whole
// directory where that cannot be read.
func (c *census) heldBy(id netns.Identity) (holds []state.Hold) {
	if c.unlisted != "" {
		holds = append(holds, state.Hold{Netns: state.KeyOf(id), File: c.dir, Reason: c.unlisted})
	}
	for _, h := range c.holds {
		if h.Names(id) {
			holds = append(holds, h)
		}
	}
	return holds
}

// inertRecord is a record that nothing is done about.
type inertRecord struct {
	record state.Record
	reason string
}

// census reads all records, sorts them by what can be done about them, and prunes what has been of no use
// for long. What cannot be read for now still counts as it was read last, and holds its netns: a registration is lost
// only when its record is.
func (w *watcher) census(ctx context.Context, now monotime.Time) census {
	listing, err := w.store.List(ctx)
	if ctx.Err() != nil {
		return w.last
	}
	if err != nil {
		w.warnings.fail(WarnRecords, "list the attachments: the earlier ones stay registered, observing only", "error", err)
		c := w.last
		c.unlisted, c.dir = err.Error(), w.store.AttachmentsDir()
		c.problems = []state.Problem{{File: w.store.AttachmentsDir(), Err: err}}
		return c
	}
	c := census{problems: listing.Problems, holds: listing.Holds}
	useless := make(map[string]monotime.Time)
	var overdue []state.Record
	for _, r := range slices.Concat(listing.Records, w.unreadable(listing.Problems)) {
		reason, ended := w.judge(r)
		if reason == "" {
			c.records = append(c.records, r)
			continue
		}
		c.inert = append(c.inert, inertRecord{r, reason})
		// Its path ends before its netns may: then it still asks for what it says.
		c.holds = append(c.holds, w.holdOf(r, reason))
		if ended && w.overdue(fileName(r), useless, now) {
			overdue = append(overdue, r)
		}
	}
	for _, r := range overdue {
		if w.ended(w.holdOf(r, ""), c.records) {
			w.prune(r)
		}
	}
	for _, h := range listing.Holds {
		if w.overdue(h.File, useless, now) && w.ended(h, c.records) {
			w.log.Info("prune a file that is no record, and whose namespace has ended", "file", h.File, "error", w.store.Prune(h.File))
		}
	}
	for _, p := range listing.Problems {
		holds := slices.ContainsFunc(listing.Holds, func(h state.Hold) bool { return h.File == p.File })
		if p.OtherBoot && !holds && w.overdue(p.File, useless, now) {
			w.log.Info("prune a file of another boot", "file", p.File, "error", w.store.Prune(p.File))
		}
	}
	w.useless = useless
	c.resolved = w.resolve(c.records)
	return c
}

// resolve returns what records come to. That of one that says the same as before is not computed again: a pod may choose
// annotations that take long to read. Nor does the loop wait for it.
func (w *watcher) resolve(records []state.Record) map[string]policy.Resolved {
	known := make(map[string]*state.Record, len(w.last.records))
	for i := range w.last.records {
		known[fileName(w.last.records[i])] = &w.last.records[i]
	}
	resolved := make(map[string]policy.Resolved, len(records))
	for i := range records {
		name := fileName(records[i])
		was, ok := w.last.resolved[name]
		if before := known[name]; !ok || before == nil || !reflect.DeepEqual(before.Layers, records[i].Layers) {
			was = w.resolveLayers(&records[i].Layers)
		}
		resolved[name] = was
	}
	return resolved
}

func (w *watcher) resolveLayers(l *policy.Layers) policy.Resolved {
	w.resolutions++
	return l.Resolve(w.minGrace)
}

// unreadable returns the records that the last census had of files that only cannot be read for now.
func (w *watcher) unreadable(problems []state.Problem) []state.Record {
	var known []state.Record
	for _, p := range problems {
		if _, ok := errors.AsType[unix.Errno](p.Err); !ok {
			continue // what it holds is no record
		}
		for _, r := range w.last.records {
			if fileName(r) == p.File {
				known = append(known, r)
			}
		}
	}
	return known
}

// judge says why nothing can be done about a record, "" if something can, and whether that is for good. A
// path that cannot be looked at for any other reason than that the namespace is gone decides nothing:
// the one that works in the namespace looks again, and says what is wrong.
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
	switch {
	case err != nil && netns.IsGone(err):
		if !w.root.SeesDirOf(r.Netns.Path) {
			return fmt.Sprintf("%v, nor is its directory: in a container, mount the host's with propagation", err), false
		}
		return err.Error(), true
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

// cookieless says why nothing can be done about a record without a cookie, "" if the kernel has none to give:
// elsewhere the namespace could be a later one of the same inode number.
func cookieless(h *netns.Handle) string {
	id, err := h.Identify()
	switch {
	case err != nil:
		return fmt.Sprintf("recorded without a netns cookie, and %v", err)
	case id.Cookie != 0:
		return "recorded without a netns cookie, though this kernel has them: it may be another namespace"
	}
	return ""
}

// holdOf returns what a record that cannot be acted on says of its netns.
func (w *watcher) holdOf(r state.Record, reason string) state.Hold {
	return state.Hold{Netns: state.KeyOf(r.Netns.Identity), File: fileName(r), Reason: reason, OtherBoot: r.Boot != w.boot}
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

// ended reports whether a namespace is proven to have ended: by the kernel, or since neither the path of a record nor a
// process leads there.
func (w *watcher) ended(h state.Hold, records []state.Record) bool {
	if slices.ContainsFunc(records, func(r state.Record) bool { return h.Names(r.Netns.Identity) }) {
		return false
	}
	if w.liveness == nil {
		w.liveness = netns.NewLiveness()
	}
	ended, err := w.liveness.Ended(netns.Identity{Cookie: h.Netns.Cookie, Inode: h.Netns.Inode})
	return ended && err == nil
}

// prune deletes the file of a record that has been inert for long, unless it has been written again since.
func (w *watcher) prune(r state.Record) {
	current, err := w.store.Get(r.Attachment)
	if err == nil && current.Netns == r.Netns && !current.Time.Equal(r.Time) {
		return
	}
	w.log.Info("prune a record whose namespace has ended", "container", r.ContainerID, "ifname", r.IfName,
		"pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name, "error", w.store.Prune(fileName(r)))
}

// fileName is what the file of a record that was listed is called.
func fileName(r state.Record) string {
	name, _ := r.FileName() // no error: it was listed under that name
	return name
}
