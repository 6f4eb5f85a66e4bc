// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// records is this node's records and their namespaces.
type records struct {
	err      error // why they are unknown
	root     hostfs.Dir
	boot     string
	list     []recorded
	problems []state.Problem
	observed []state.Hold // of the problems: namespaces that are only observed
}

// recorded is a record and the file at its path.
type recorded struct {
	state.Record
	open  error // of opening the path
	at    netns.Identity
	lives bool // its namespace exists, but not at this path
}

func inspectRecords(ctx context.Context, store *state.Store, root string) records {
	r := records{root: hostfs.Dir(root)}
	listing, err := store.List(ctx)
	if err != nil {
		r.err = err
		return r
	}
	r.problems, r.observed = listing.Problems, listing.Holds
	if r.boot, r.err = netns.BootID(); r.err != nil {
		return r
	}
	below, err := netns.NewRoot(root)
	if err != nil {
		r.err = err
		return r
	}
	defer below.Close()
	var liveness *netns.Liveness
	for _, rec := range listing.Records {
		inspected := inspectPath(below, rec)
		if c := r.condition(inspected); c == gone || c == moved {
			if liveness == nil {
				liveness = netns.NewLiveness()
			}
			ended, err := liveness.Ended(rec.Netns.Identity)
			inspected.lives = !ended && err == nil
		}
		r.list = append(r.list, inspected)
	}
	return r
}

func inspectPath(root *netns.Root, rec state.Record) recorded {
	h, err := root.Open(rec.Netns.Path)
	if err != nil {
		return recorded{Record: rec, open: err}
	}
	defer h.Close()
	return recorded{Record: rec, at: h.Stat()}
}

// condition is what a reaper here can do with a record.
type condition int

const (
	usable     condition = iota
	otherBoot            // it is of another boot
	gone                 // nothing exists at its path
	moved                // another namespace is at its path
	unreached            // as gone and moved, but its namespace exists
	hidden               // the path exists, but the namespace's mount is not visible
	unreadable           // the path cannot be opened
)

func (r records) condition(rec recorded) condition {
	switch {
	case rec.Inert(r.boot):
		return otherBoot
	case rec.lives:
		return unreached
	case errors.Is(rec.open, netns.ErrNotNamespace):
		return hidden
	case errors.Is(rec.open, fs.ErrNotExist):
		return gone
	case rec.open != nil:
		return unreadable
	case !rec.at.Same(rec.Netns.Identity):
		return moved
	}
	return usable
}

// in returns the records in one of the conditions.
func (r records) in(conditions ...condition) []recorded {
	var some []recorded
	for _, rec := range r.list {
		if slices.Contains(conditions, r.condition(rec)) {
			some = append(some, rec)
		}
	}
	return some
}

// usable returns the records that a reaper here can act on.
func (r records) usable() []recorded { return r.in(usable) }

// intervals returns the sweep interval of each registered network namespace, by the policies of all its attachments.
func (r records) intervals() []time.Duration {
	policies := make(map[netns.Identity][]policy.Policy)
	for _, rec := range r.usable() {
		policies[rec.Netns.Identity] = append(policies[rec.Netns.Identity], rec.Layers.Resolve(0).Policies...)
	}
	var all []time.Duration
	for _, p := range policies {
		if i := finder.SweepInterval(p); i > 0 {
			all = append(all, i)
		}
	}
	return all
}

// reportRecords reports records that a reaper here cannot act on, and unreadable ones.
func reportRecords(r records) []Finding {
	if r.err != nil {
		f := Finding{Check: "records", Level: Warn, What: r.err.Error(), Do: "fix state-dir first"}
		if errors.Is(r.err, fs.ErrPermission) {
			f.What, f.Do = "the records are for their owner only: "+r.err.Error(), "run it as root"
		}
		return []Finding{f}
	}
	all := []Finding{{Check: "records", What: recordSummary(r)}}
	add := func(kind string, level Level, list []recorded, what, do string) {
		if len(list) > 0 {
			all = append(all, Finding{
				ID: "records/" + kind, Check: "records", Level: level, Do: do,
				What: fmt.Sprintf("%s %s: %s", describe.Plural(len(list), "record", "records"), what, firstNames(list, recorded.name)),
			})
		}
	}
	if list := r.in(hidden); len(list) > 0 {
		m := mounts{root: r.root}
		add("hidden", Fail, list, "cannot be acted on, since "+list[0].Netns.Path+" is no namespace here but a plain file: its mount is not visible",
			m.mountIt(netnsDirOf(list[0].Netns.Path)))
	}
	if list := r.in(unreadable); len(list) > 0 {
		add("unreadable", Warn, list, fmt.Sprintf("cannot be acted on from here (%v)", list[0].open), "fix process-access and pid-namespace; run it as root")
	}
	add("unreached", Warn, r.in(unreached), "of namespaces that exist, but not at the recorded path: their other attachments are only observed",
		"unregister manually registered ones, and register them with a permanent path, such as one in /run/netns; or recreate the container")
	add("gone", Info, r.in(gone, moved), "of namespaces that are gone", "nothing: a reaper prunes them after ten minutes")
	add("earlier-boot", Info, r.in(otherBoot), "of an earlier boot", "nothing: a reaper prunes them after ten minutes")
	var warned []recorded
	for _, rec := range r.list {
		if len(rec.Warnings) > 0 {
			warned = append(warned, rec)
		}
	}
	if len(warned) > 0 {
		add("warnings", Warn, warned, fmt.Sprintf("with warnings, such as %q", warned[0].Warnings[0]),
			"correct the pod's annotation or the network's configuration in the warning, and recreate the pod; halfclose status shows all warnings")
	}
	if n := len(r.problems); n > 0 {
		what := fmt.Sprintf("%s no record (%v): %s", describe.Plural(n, "file is", "files are"), r.problems[0].Err, firstNames(r.problems, func(p state.Problem) string { return p.File }))
		if n := len(r.observed); n > 0 {
			what += "; " + describe.Plural(n, "names a namespace, which is only observed", "name namespaces, which are only observed")
		}
		all = append(all, Finding{
			ID: "records/invalid", Check: "records", Level: Warn, What: what,
			Do: "upgrade this halfclose if a newer one wrote them; otherwise delete those containers, which removes the files, and recreate them",
		})
	}
	return all
}

func recordSummary(r records) string {
	if len(r.list) == 0 {
		return "nothing is registered"
	}
	return fmt.Sprintf("%s, of which %d can be acted on from here", describe.Plural(len(r.list), "attachment is registered", "attachments are registered"), len(r.usable()))
}

// name returns the pod's name, or the container ID if there is no pod.
func (r recorded) name() string {
	if pod := r.Pod.String(); pod != "" {
		return pod
	}
	return r.ContainerID
}

// netnsDirOf returns the directory whose mounts make the namespace at a path visible.
func netnsDirOf(path string) string {
	for _, dir := range hostfs.NetnsDirs() {
		if isBelow(path, dir) {
			return dir
		}
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return path
}
