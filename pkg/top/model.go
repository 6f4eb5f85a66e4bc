// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/halfclose/halfclose/pkg/api"
)

// The screens. The sockets of a pod are shown over any of the first two.
type screen int

const (
	screenPods screen = iota
	screenLeaks
	screenHistory
	screenProblems
	screenHelp
)

// maxEntries bounds the entries of the history that the screen keeps.
const maxEntries = 4096

// model is the state of the screen.
type model struct {
	cfg Config

	width, height int
	content       string // the drawn screen

	screen, before screen // before is the screen below the help
	pods           list[row]
	sockets        list[api.SocketView]
	leaks          list[api.LeakGroup]
	leaksAt        time.Time // when the leaks were loaded
	history        list[api.Entry]
	text           list[string] // the problems, or the help
	namespace      string
	pod            *podView // whose sockets are shown: the open pod, or beside the list the selected one
	open           bool
	prompt         *prompt
	notice         string // the result of the last change of a switch
	missing        string // why the last answer lacks a part, "" if it has all

	paused, asking, waiting, urgent bool
	seq                             int // of the last question

	loaded   bool      // the reaper has answered
	observed bool      // a pod has sockets that only the mode kept
	at       time.Time // of the last answer
	status   api.Status
	page     api.HistoryPage // the last page of the history
	share    float64         // the finder's recent use of a core, 0 to 1
	rates    rates
	problem  string    // of the last request, "" if it succeeded
	since    time.Time // of the problem
}

// The messages of timers and of changes, besides those of bubbletea and answer.
type (
	due      struct{ seq int } // the pause after answer seq is over
	late     struct{ seq int } // question seq has had no answer for a while
	switched struct {
		done string
		err  error
	}
)

func newModel(cfg Config) *model {
	m := &model{cfg: cfg, namespace: cfg.Namespace}
	m.pods.spec, m.leaks.spec, m.history.spec = m.podSpec(), leakSpec(), historySpec(cfg.Now().Location())
	m.sockets.spec, m.text.spec = socketSpec(), textSpec()
	m.pods.order = max(0, slices.Index(Orders(), cfg.Sort))
	for _, l := range []lister{&m.pods, &m.leaks, &m.history} {
		l.setNamespace(cfg.Namespace)
	}
	return m
}

// Init implements tea.Model. The first answer has been received, so the next question is due.
func (m *model) Init() tea.Cmd { return m.ask() }

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(m.content)
	v.AltScreen = true
	if m.prompt != nil {
		v.Cursor = tea.NewCursor(min(m.prompt.column(), max(0, m.width-1)), max(0, m.height-1))
	}
	return v
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		cmd = m.press(msg)
	case tea.PasteMsg:
		if m.prompt != nil {
			cmd = m.answerPrompt(tea.KeyPressMsg{Text: msg.Content})
		}
	case answer:
		cmd = m.receive(msg)
	case due:
		if msg.seq == m.seq && !m.paused {
			cmd = m.ask()
		}
	case late:
		m.waiting = m.asking && msg.seq == m.seq
	case switched:
		m.notice = msg.done
		if msg.err != nil {
			m.notice = msg.err.Error()
		}
		m.urgent = true
	}
	m.focus()
	if m.urgent && !m.asking {
		cmd = tea.Batch(cmd, m.ask())
	}
	m.content = strings.Join(m.draw(m.width, m.height), "\n")
	return m, cmd
}

// list returns the list that the screen shows.
func (m *model) list() lister {
	switch {
	case m.screen == screenProblems || m.screen == screenHelp:
		return &m.text
	case m.open:
		return &m.sockets
	case m.screen == screenLeaks:
		return &m.leaks
	case m.screen == screenHistory:
		return &m.history
	}
	return &m.pods
}

// press handles a key.
func (m *model) press(msg tea.KeyPressMsg) tea.Cmd {
	m.notice = ""
	if m.prompt != nil && msg.String() != "ctrl+c" {
		return m.answerPrompt(msg)
	}
	for _, c := range m.commands() {
		if key.Matches(msg, c.Binding) {
			return c.do()
		}
	}
	return nil
}

// show goes to a screen.
func (m *model) show(s screen) {
	if m.screen != s {
		m.text = list[string]{spec: m.text.spec}
	}
	m.screen, m.open, m.urgent, m.leaksAt = s, false, true, time.Time{}
}

func (m *model) help() tea.Cmd {
	if m.screen != screenHelp {
		m.before, m.screen = m.screen, screenHelp
		m.text = list[string]{spec: m.text.spec}
	}
	return nil
}

func (m *model) pause() tea.Cmd {
	m.paused = !m.paused
	m.urgent = !m.paused
	return nil
}

// back clears a filter, or returns to the screen before.
func (m *model) back() tea.Cmd {
	switch {
	case m.list().filtered() != "":
		m.list().setFilter("")
	case m.screen == screenHelp:
		m.screen = m.before
	case m.open:
		m.open = false
	case m.namespace != "":
		m.setNamespace("")
	default:
		m.screen = screenPods
	}
	return nil
}

// enter opens the pod of the selected row.
func (m *model) enter() tea.Cmd {
	id, ok := "", false
	switch m.list() {
	case &m.pods:
		if r, ok := m.pods.current(); ok {
			m.pods.selected = r.key
			m.openPod(r)
		}
	case &m.leaks:
		var g api.LeakGroup
		g, ok = m.leaks.current()
		id = g.ContainerID
	case &m.history:
		var e api.Entry
		e, ok = m.history.current()
		id = e.ContainerID
	}
	if at := slices.IndexFunc(m.pods.all, func(r row) bool { return r.a.ContainerID == id }); at >= 0 && ok {
		m.openPod(m.pods.all[at])
	} else if ok {
		m.notice = "the pod of this row is no longer registered"
	}
	return nil
}

func (m *model) openPod(r row) {
	m.open = true
	m.view(r)
	m.sockets.filter, m.sockets.selected = "", ""
	m.sockets.apply()
	m.urgent = true
}

func (m *model) setNamespace(name string) {
	m.namespace = name
	m.pods.setNamespace(name)
	m.leaks.setNamespace(name)
	m.history.setNamespace(name)
}

// focus makes the selected pod the one whose sockets are shown beside the list, if the screen is wide enough for that.
func (m *model) focus() {
	if m.open || m.screen != screenPods || panelWidth(m.width) == 0 {
		return
	}
	if r, ok := m.pods.current(); ok {
		m.view(r)
	}
}

// view makes a pod the one whose sockets are requested.
func (m *model) view(r row) {
	if m.pod == nil || m.pod.key != r.key {
		m.pod = &podView{key: r.key, query: r.a.ContainerID}
		m.sockets.set(nil)
		m.urgent = true
	}
}

// ask returns the command that asks the reaper, nil if a question is in flight.
func (m *model) ask() tea.Cmd {
	if m.asking {
		return nil
	}
	m.asking, m.urgent = true, false
	m.seq++
	q, src, now, seq := m.question(), m.cfg.Source, m.cfg.Now, m.seq
	return tea.Batch(
		func() tea.Msg { return ask(context.Background(), src, q, now) },
		tea.Tick(waitAfter, func(time.Time) tea.Msg { return late{seq} }),
	)
}

// question returns the next question.
func (m *model) question() question {
	q := question{leaks: m.screen == screenLeaks && !m.open && m.at.Sub(m.leaksAt) >= ownersEvery, history: m.screen == screenHistory, after: api.HistoryQuery{Tail: maxEntries, History: m.page.History, After: m.page.Last}}
	if p := m.pod; p != nil && (m.open || panelWidth(m.width) > 0) {
		q.pod, q.query = p.key, p.query
		q.owners = p.loaded && (p.ownersAt.IsZero() || m.at.Sub(p.ownersAt) >= ownersEvery) // the sockets come first: they cost less
	}
	return q
}

// receive applies an answer, and returns the command that waits for the next question.
func (m *model) receive(a answer) tea.Cmd {
	m.asking, m.waiting = false, false
	if a.err != nil {
		if m.problem == "" {
			m.since = m.at
		}
		m.problem = a.err.Error()
	} else {
		m.apply(a)
	}
	seq := m.seq
	return tea.Tick(max(m.cfg.Interval-a.elapsed, restFactor*a.elapsed), func(time.Time) tea.Msg { return due{seq} })
}

// apply applies an answer without an error.
func (m *model) apply(a answer) {
	m.missing = a.note
	m.share = m.finderShare(a)
	m.rates.update(m, a)
	m.problem, m.loaded, m.at, m.status = "", true, a.at, a.status
	m.observed = slices.ContainsFunc(m.status.Attachments, func(a api.AttachmentView) bool { return a.WouldDestroy > 0 })
	m.pods.set(newRows(m.status))
	if a.history {
		entries := a.page.Entries
		if m.page.History != "" { // the next reaper continues the history of the previous one
			entries = append(m.history.all, entries...)
		}
		m.page = a.page
		m.history.set(entries[max(0, len(entries)-maxEntries):])
	}
	if a.leaks {
		m.leaksAt = a.at
		m.leaks.set(a.list.Groups)
	}
	if p := m.pod; p != nil && a.pod == p.key {
		p.update(a)
		m.sockets.set(p.sockets)
		m.urgent = p.ownersAt.IsZero() // the owners come next
	}
}

// finderShare returns the finder's use of a core since the last answer, or since the reaper started.
func (m *model) finderShare(a answer) float64 {
	used, from := time.Duration(a.status.Finder.CPU), a.status.Holder.Since
	if m.loaded && from.Equal(m.status.Holder.Since) {
		used, from = used-time.Duration(m.status.Finder.CPU), m.at
	}
	if passed := a.at.Sub(from); passed > 0 {
		return max(0, used.Seconds()/passed.Seconds())
	}
	return m.share
}
