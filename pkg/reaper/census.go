// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// census is what is recorded on this node, and which of it can be acted on.
type census struct {
	records  []state.Record  // that can be acted on
	inert    []inertRecord   // that cannot, such as those whose namespace is gone
	problems []state.Problem // files that are no record, or cannot be read
	holds    []state.Hold    // what keeps a netns at observe at most, whatever its records ask for (prose:ok: a noun)
}

// heldBy returns what keeps a netns at observe at most: files that speak of it and cannot be read or acted on.
func (c *census) heldBy(id netns.Identity) (holds []state.Hold) {
	for _, h := range c.holds {
		if h.Netns.Names(id) {
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
// for long. What cannot be read for now counts as before: a registration is lost only when its record is.
func (w *watcher) census(now monotime.Time) census {
	listing, err := w.store.List()
	if err != nil {
		w.warnings.fail(WarnRecords, "list the attachments: going on with those that were known", "error", err)
		c := w.last
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
		if r.Boot == w.boot {
			// Its path ends before its netns may: then it still asks for what it says.
			c.holds = append(c.holds, state.Hold{Netns: state.KeyOf(r.Netns.Identity), File: fileName(r), Reason: reason})
		}
		if ended && w.overdue(fileName(r), useless, now) {
			overdue = append(overdue, r)
		}
	}
	for _, r := range overdue {
		if r.Boot != w.boot || w.ended(state.KeyOf(r.Netns.Identity), c.records) {
			w.prune(r)
		}
	}
	for _, h := range listing.Holds {
		if w.overdue(h.File, useless, now) && w.ended(h.Netns, c.records) {
			w.log.Info("prune a file that is no record, and whose namespace has ended", "file", h.File, "error", w.store.Prune(h.File))
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
func (w *watcher) ended(k state.NetnsKey, records []state.Record) bool {
	if slices.ContainsFunc(records, func(r state.Record) bool { return k.Names(r.Netns.Identity) }) {
		return false
	}
	if w.liveness == nil {
		w.liveness = netns.NewLiveness()
	}
	ended, err := w.liveness.Ended(netns.Identity{Cookie: k.Cookie, Inode: k.Inode})
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
