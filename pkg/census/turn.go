// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// turn is what a census reads and checks.
type turn struct {
	files   []string // these files
	all     bool     // the files that have changed
	isFresh bool     // every file and path
	slice   bool     // the paths whose turn it is
	isFirst bool
	waiting chan<- struct{} // closed once the census has been taken in
}

// turn reads and classifies the files and paths of a turn, and prunes files that may be pruned for pruneAfter. An unreadable file
// keeps its last known record and caps its netns at observe: a registration ends only when its record is removed. If ctx
// is done it stops.
func (w *Watcher) turn(ctx context.Context, t turn, now monotime.Time) {
	changed, err := w.read(ctx, t)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.Warnings.Fail(WarnRecords, "cannot list the attachments: the known ones stay registered and are only observed", "error", err)
	}
	if err != nil || t.all {
		w.roll.setUnlisted(w.Store.AttachmentsDir(), err)
	}
	var isNewlyInert bool
	for i, c := range w.classifyAll(ctx, changed) {
		isNewlyInert = w.setFile(changed[i], c, now) || isNewlyInert
	}
	isNewlyInert = w.recheckPaths(ctx, t, now) || isNewlyInert
	if ctx.Err() != nil {
		return
	}
	if t.all || isNewlyInert {
		w.proveDeleted(t.all)
	}
	if t.all {
		w.prune(now)
	}
}

func (w *Watcher) read(ctx context.Context, t turn) (changed []string, err error) {
	switch {
	case t.all:
		return w.reader.ReadAll(ctx, t.isFresh)
	case len(t.files) > 0:
		return w.reader.Read(ctx, t.files)
	}
	return nil, nil
}

// class is the classification of a record.
type class struct {
	reason  string         // why it is inert, "" if it is active
	final   bool           // it will not become active again
	leadsTo netns.Identity // what its path leads to; zero if it cannot be opened
}

// maxChecks is how many paths are checked at the same time: some may hang.
const maxChecks = 8

// each calls do for each index, for some at the same time.
func each(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	var g errgroup.Group
	g.SetLimit(maxChecks)
	for i := range n {
		g.Go(func() error { do(i); return nil })
	}
	_ = g.Wait() // none returns an error
}

// recordOf returns the record of a file, nil without one: the last known one if the file cannot be read now. A file with
// invalid content has none.
func (w *Watcher) recordOf(name string) *state.Record {
	file := w.reader.File(name)
	if file == nil {
		return nil
	}
	if file.Problem == nil {
		return &file.Record
	}
	if _, unreadable := errors.AsType[unix.Errno](file.Problem.Err); !unreadable {
		return nil
	}
	if known := w.roll.entries[name]; known != nil && known.isActive() {
		return known.record
	}
	return nil
}

func (w *Watcher) classifyAll(ctx context.Context, names []string) []class {
	classes := make([]class, len(names))
	each(len(names), func(i int) {
		if r := w.recordOf(names[i]); r != nil && ctx.Err() == nil {
			classes[i] = w.classify(r)
		}
	})
	return classes
}

// setFile takes over a file as it was read and classified. It reports whether its record has become inert.
func (w *Watcher) setFile(name string, c class, now monotime.Time) (isNewlyInert bool) {
	known, file := w.roll.entries[name], w.reader.File(name)
	if file == nil {
		w.roll.remove(name)
		return false
	}
	e := &entry{name: name, record: w.recordOf(name), problem: file.Problem, hold: file.Hold}
	return w.set(e, known, c, now)
}

// set completes an entry and adds it to the roll in place of the known one, which may be nil.
func (w *Watcher) set(e, known *entry, c class, now monotime.Time) (isNewlyInert bool) {
	e.leadsTo = c.leadsTo
	if e.record != nil && c.reason != "" {
		e.inert = &Inert{Record: *e.record, Reason: c.reason, final: c.final}
		if known != nil && known.inert != nil && known.inert.final && c.final {
			e.inert.Deleted = known.inert.Deleted
		} else {
			isNewlyInert = c.final
		}
		if e.hold == nil { // the path may disappear before the netns does: until then the record's policy must not be exceeded
			e.hold = &state.Hold{Netns: state.KeyOf(e.record.Netns.Identity), File: e.name, Reason: c.reason, OtherBoot: e.record.Boot != w.Boot}
		}
	}
	if e.isActive() {
		e.resolved = w.resolve(e.record, known)
	}
	if e.inert != nil && c.final || e.problem != nil && (e.hold != nil || e.problem.OtherBoot) {
		e.since = now
		if known != nil && !known.since.IsZero() {
			e.since = known.since
		}
	}
	w.notice(e, known)
	w.queue.add(e.name)
	w.roll.set(e)
	return isNewlyInert
}

// resolve returns the policies of an active record. It reuses those of an unchanged record, since a pod can choose annotations
// that take long to parse. It runs here and not on the reaper's loop for the same reason.
func (w *Watcher) resolve(r *state.Record, known *entry) policy.Resolved {
	facts := policyfile.FactsOf(r)
	if known != nil && known.isActive() && policyfile.FactsOf(known.record) == facts && reflect.DeepEqual(known.record.Layers, r.Layers) {
		return known.resolved
	}
	w.resolutions++
	return w.policyFile.Resolve(r.Layers, facts, w.MinGrace)
}

// recheckPaths classifies the records again whose paths' turn it is. It reports whether any has become inert.
func (w *Watcher) recheckPaths(ctx context.Context, t turn, now monotime.Time) (isNewlyInert bool) {
	var entries []*entry
	add := func(name string) {
		if e := w.roll.entries[name]; e != nil && e.record != nil {
			entries = append(entries, e)
		}
	}
	switch {
	case t.isFresh:
		for name := range w.roll.entries {
			add(name)
		}
	case t.slice:
		for _, name := range w.queue.pop() {
			if w.roll.entries[name] != nil {
				add(name)
				w.queue.add(name)
			}
		}
	}
	again := make([]*class, len(entries))
	each(len(entries), func(i int) {
		if ctx.Err() == nil {
			again[i] = w.recheck(entries[i])
		}
	})
	for i, c := range again {
		e := entries[i]
		if c == nil {
			continue
		}
		was := class{leadsTo: e.leadsTo}
		if e.inert != nil {
			was.reason, was.final = e.inert.Reason, e.inert.final
		}
		if *c != was {
			next := *e
			next.inert, next.leadsTo = nil, netns.Identity{}
			if e.problem == nil {
				next.hold = nil
			}
			isNewlyInert = w.set(&next, e, *c, now) || isNewlyInert
		}
	}
	return isNewlyInert
}

// recheck returns the classification of a known record, nil if its path leads where it did.
func (w *Watcher) recheck(e *entry) *class {
	if e.isActive() && e.leadsTo != (netns.Identity{}) {
		if at, err := w.Root.Stat(e.record.Netns.Path); err == nil && at == e.leadsTo {
			return nil
		}
	}
	c := w.classify(e.record)
	return &c
}

// classify classifies a record. If its path cannot be opened although it exists, the record is active, since the finder opens it
// again and reports the error; unless its file system does not answer.
func (w *Watcher) classify(r *state.Record) class {
	if r.Boot != w.Boot {
		return class{reason: "recorded before the last boot", final: true}
	}
	for _, id := range w.Never {
		if id.Same(r.Netns.Identity) {
			return class{reason: "this is the host's own network namespace, which needs --allow-host-netns"}
		}
	}
	h, err := w.Root.Open(r.Netns.Path)
	switch {
	case err != nil && netns.IsGone(err):
		if !w.Root.SeesDirOf(r.Netns.Path) {
			return class{reason: fmt.Sprintf("%v, and its directory does not exist either: in a container, mount the host's directory with propagation", err)}
		}
		return class{reason: err.Error(), final: true}
	case errors.Is(err, netns.ErrHangs):
		return class{reason: err.Error()}
	case err != nil:
		return class{}
	}
	defer h.Close()
	if !h.Stat().Same(r.Netns.Identity) {
		return class{reason: fmt.Sprintf("%s: %v", r.Netns.Path, netns.ErrMismatch), final: true}
	}
	if r.Netns.Cookie == 0 {
		if reason := cookieless(h); reason != "" {
			return class{reason: reason}
		}
	}
	return class{leadsTo: h.Stat()}
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

// notice logs an invalid record, and a record with warnings, once.
func (w *Watcher) notice(e, known *entry) {
	switch r := e.record; {
	case e.problem != nil:
		e.noticed = e.problem.Err.Error()
	case e.isActive() && len(r.Warnings) > 0:
		e.noticed = r.Time.Format(time.RFC3339Nano)
	}
	if e.noticed == "" || known != nil && known.noticed == e.noticed {
		return
	}
	if e.problem != nil {
		w.Warnings.Warn(WarnRecords, "invalid record in the state directory", "file", e.name, "error", e.noticed)
		return
	}
	w.Warnings.Warn(WarnRecords, "attachment has configuration warnings", "pod_namespace", e.record.Pod.Namespace, "pod", e.record.Pod.Name,
		"network", e.record.Network, "container", e.record.ContainerID, "ifname", e.record.IfName, "warnings", e.record.Warnings)
}
