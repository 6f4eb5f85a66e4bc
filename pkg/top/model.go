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
func (m *model) update(a answer) {
	if a.err != nil {
		if m.problem == "" {
			m.since = m.at
		}
		m.problem = a.err.Error()
		return
	}
	m.share = finderShare(m, a)
	m.rates.update(m, a)
	m.problem, m.loaded, m.at, m.status = "", true, a.at, a.status
	m.rows = newRows(m.status)
	slices.SortStableFunc(m.rows, m.order.compare)
	if d := m.detail; d != nil && a.key == d.key {
		d.update(a)
	}
}

func (d *detail) update(a answer) {
	if d.loaded = true; a.owners || len(a.sockets.Problems) > 0 {
		d.problems = a.sockets.Problems
	}
	d.sockets = slices.DeleteFunc(a.sockets.Sockets, func(v api.SocketView) bool {
		return v.ContainerID != d.query && strings.HasPrefix(v.ContainerID, d.query) // of a container whose name has this one as a prefix
	})
	if !a.owners {
		return
	}
	d.ownersAt, d.owners = a.at, make(map[uint64][]owners.Process)
	for _, v := range d.sockets {
		d.owners[v.Cookie] = v.Owners
	}
}

// finderShare returns the finder's use of a core since the last answer, or since the reaper started.
func finderShare(m *model, a answer) float64 {
	used, from := time.Duration(a.status.Finder.CPU), a.status.Holder.Since
	if m.loaded && a.status.Holder.Since.Equal(m.status.Holder.Since) {
		used, from = used-time.Duration(m.status.Finder.CPU), m.at
	}
	if passed := a.at.Sub(from); passed > 0 {
		return max(0, used.Seconds()/passed.Seconds())
	}
	return m.share
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
func (m *model) press(k key) action {
	switch k {
	case "q", keyInterrupt:
		return quit
	case keySuspend:
		return suspend
	case keyRedraw:
		return redraw
	case "p", " ":
		m.paused = !m.paused
		return proceed
	}
	if d := m.detail; d != nil {
		if k == keyEscape {
			m.detail = nil
		}
		d.list.handleKey(k, d.keys(), d.page)
		return proceed
	}
	if o, ok := orderOf(k); ok {
		m.order = o
		slices.SortStableFunc(m.rows, o.compare)
	}
	if k == keyEnter && m.list.index < len(m.rows) {
		r := m.rows[m.list.index]
		m.list.selected = r.key
		m.detail = &detail{key: r.key, query: r.a.ContainerID}
	}
	m.list.handleKey(k, m.keys(), m.page)
	return proceed
}

func (m *model) keys() []string {
	keys := make([]string, len(m.rows))
	for i, r := range m.rows {
		keys[i] = r.key
	}
	return keys
}
