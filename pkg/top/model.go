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

// model is the state of the screen. It holds only values: keys and answers of the reaper change it, and frame draws it.
type model struct {
	interval time.Duration
	paused   bool
	order    Order
	list     cursor
	detail   *detail // nil: the list of all pods

	loaded  bool      // the reaper has answered
	at      time.Time // of the last answer
	status  api.Status
	share   float64 // the finder's recent use of a core, 0 to 1
	rates   rates
	problem string    // of the last request, "" if it succeeded
	since   time.Time // of the problem

	rows []row
	page int // number of rows in the last frame
}

// detail is the state of the view of one pod.
type detail struct {
	key      string
	query    string // a container ID
	list     cursor
	sockets  []api.SocketView
	problems []string
	loaded   bool
	owners   map[uint64][]owners.Process // by cookie
	ownersAt time.Time                   // when the owners were loaded
	page     int
}

// answer holds the reaper's answers to a question.
type answer struct {
	at      time.Time
	status  api.Status
	history *api.HistoryPage // nil if the question did not include it
	key     string           // of the pod whose sockets were requested, "" if none
	sockets api.SocketList
	owners  bool // the sockets have their owners
	err     error
}

// update applies an answer.
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
	t.problem, t.loaded, t.at, t.status = "", true, h.at, h.status
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
		return v.ContainerID != d.query && strings.HasPrefix(v.ContainerID, d.query) // of a container whose name has this one as a prefix
	})
	if !h.owners {
		return
	}
	d.ownersAt, d.owners = h.at, make(map[uint64][]owners.Process)
	for _, v := range d.sockets {
		d.owners[v.Cookie] = v.Owners
	}
}

// finderShare returns the finder's use of a core since the last answer, or since the reaper started.
func finderShare(t *model, h answer) float64 {
	used, from := time.Duration(h.status.Finder.CPU), h.status.Holder.Since
	if t.loaded && h.status.Holder.Since.Equal(t.status.Holder.Since) {
		used, from = used-time.Duration(t.status.Finder.CPU), t.at
	}
	if passed := h.at.Sub(from); passed > 0 {
		return max(0, used.Seconds()/passed.Seconds())
	}
	return t.share
}

// action is what the session does after a key.
type action int

const (
	proceed action = iota
	quit
	suspend
	redraw
)

// press handles a key.
func (t *model) press(k key) action {
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
	if k == keyEnter && t.list.index < len(t.rows) {
		r := t.rows[t.list.index]
		t.list.selected = r.key
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
