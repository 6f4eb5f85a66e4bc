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

// model is what the screen of "halfclose top" shows, and where the person is on it. It is made of values alone: keys
// and the reaper's answers change it, and frame draws it.
type model struct {
	interval time.Duration
	paused   bool
	order    Order
	list     cursor
	detail   *detail // nil: all pods are shown

	seen    bool // the reaper has answered once
	at      time.Time
	status  api.Status
	share   float64 // of a core, that the finder has used lately
	rates   rates
	problem string // why the last request failed, "" if it did not
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

// answer is the reaper's answer to a question.
type answer struct {
	at      time.Time
	status  api.Status
	history *api.HistoryPage // if it was asked for
	key     string           // the detail that was asked for, "" if none was
	sockets api.SocketList
	owners  bool // they were asked for
	err     error
}

// update takes in an answer.
func (t *model) update(h answer) {
	if h.err != nil {
		if t.problem == "" {
			t.since = t.at
		}
		t.problem = h.err.Error()
		return
	}
	t.share = finderShare(t, h)
	t.rates.update(t, h)
	t.problem, t.seen, t.at, t.status = "", true, h.at, h.status
	t.rows = newRows(t.status)
	slices.SortStableFunc(t.rows, t.order.compare)
	if d := t.detail; d != nil && h.key == d.key {
		d.update(h)
	}
}

func (d *detail) update(h answer) {
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

// What a session does after a key.
type ending int

const (
	proceed ending = iota
	quit
	suspend
	redraw
)

// press handles a key.
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
		return proceed
	}
	if d := t.detail; d != nil {
		if k == keyEscape {
			t.detail = nil
		}
		d.list.handleKey(k, d.keys(), d.page)
		return proceed
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
	t.list.handleKey(k, t.keys(), t.page)
	return proceed
}

func (t *model) keys() []string {
	keys := make([]string, len(t.rows))
	for i, r := range t.rows {
		keys[i] = r.key
	}
	return keys
}
