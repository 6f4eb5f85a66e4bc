// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

// model is what the screen of "halfclose top" shows, and where somebody is on it. It is made of values alone:
// what is pressed and what the reaper says changes it, and frame makes a screen of it.
type model struct {
	interval time.Duration
	paused   bool
	order    Order
	list     cursor
	detail   *detail // nil: all pods are shown

	seen    bool // the reaper has said something
	at      time.Time
	status  api.Status
	share   float64 // of a core, that the finder has used lately
	rates   rates
	problem string // why there is nothing newer, "" if there is
	since   time.Time

	rows []row
	page int // rows that were shown last
}

// detail is one pod's part of the screen.
type detail struct {
	key      string
	query    string // a container ID
	list     cursor
	sockets  []api.SocketView
	problems []string
	loaded   bool
	owners   map[uint64][]owners.Process // by cookie
	asked    time.Time                   // when the owners were asked for
	page     int
}

// answer is what the reaper said when it was asked.
type answer struct {
	at      time.Time
	status  api.Status
	journal *api.JournalPage // if it was asked for
	key     string           // the detail that was asked for, "" if none was
	sockets api.SocketList
	owners  bool // they were asked for
	err     error
}

// hear takes in what the reaper said.
func (t *model) hear(h answer) {
	if h.err != nil {
		if t.problem == "" {
			t.since = t.at
		}
		t.problem = h.err.Error()
		return
	}
	t.share = finderShare(t, h)
	t.rates.hear(t, h)
	t.problem, t.seen, t.at, t.status = "", true, h.at, h.status
	t.rows = newRows(t.status)
	slices.SortStableFunc(t.rows, t.order.compare)
	if d := t.detail; d != nil && h.key == d.key {
		d.hear(h)
	}
}

func (d *detail) hear(h answer) {
	if d.loaded = true; h.owners || len(h.sockets.Problems) > 0 {
		d.problems = h.sockets.Problems
	}
	d.sockets = slices.DeleteFunc(h.sockets.Sockets, func(v api.SocketView) bool {
		return v.ContainerID != d.query && strings.HasPrefix(v.ContainerID, d.query) // of a container with a longer name
	})
	if !h.owners {
		return
	}
	d.asked, d.owners = h.at, make(map[uint64][]owners.Process)
	for _, v := range d.sockets {
		d.owners[v.Cookie] = v.Owners
	}
}

// finderShare is how much of a core the finder has used since the reaper was asked before, or since it started.
func finderShare(t *model, h answer) float64 {
	used, from := time.Duration(h.status.Finder.CPU), h.status.Holder.Since
	if t.seen && h.status.Holder.Since.Equal(t.status.Holder.Since) {
		used, from = used-time.Duration(t.status.Finder.CPU), t.at
	}
	if passed := h.at.Sub(from); passed > 0 {
		return max(0, used.Seconds()/passed.Seconds())
	}
	return t.share
}

// The ways to end.
type ending int

const (
	goOn ending = iota
	quit
	suspend
	redraw
)

// press takes in a key.
func (t *model) press(k key) ending {
	switch k {
	case "q", keyInterrupt:
		return quit
	case keySuspend:
		return suspend
	case keyRedraw:
		return redraw
	case "p", " ":
		t.paused = !t.paused
		return goOn
	}
	if d := t.detail; d != nil {
		if k == keyEscape {
			t.detail = nil
		}
		d.list.moved(k, d.keys(), d.page)
		return goOn
	}
	if o, ok := orderOf(k); ok {
		t.order = o
		slices.SortStableFunc(t.rows, o.compare)
	}
	if k == keyEnter && t.list.at < len(t.rows) {
		r := t.rows[t.list.at]
		t.list.chosen = r.key
		t.detail = &detail{key: r.key, query: r.a.ContainerID}
	}
	t.list.moved(k, t.keys(), t.page)
	return goOn
}

func (t *model) keys() []string {
	keys := make([]string, len(t.rows))
	for i, r := range t.rows {
		keys[i] = r.key
	}
	return keys
}
