// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// newScreen returns the model of a node with pods, on a screen of a size. Its commands are not run: the test sends their
// messages.
func newScreen(pods, width, height int) *model {
	m := newModel(Config{Interval: 2 * time.Second, Now: answerTime})
	m.cfg.SetMode = func(context.Context, api.ModeRequest) error { return nil }
	m.Update(firstAnswer(pods))
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m
}

// press presses keys, named as bubbletea names them, and returns the command of the last one.
func press(m *model, keys ...string) (cmd tea.Cmd) {
	for _, name := range keys {
		msg := tea.KeyPressMsg{Code: map[string]rune{
			"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
			"home": tea.KeyHome, "end": tea.KeyEnd, "tab": tea.KeyTab, "space": tea.KeySpace, "backspace": tea.KeyBackspace,
		}[name]}
		if name == "space" {
			msg.Text = " "
		}
		if rest, ok := strings.CutPrefix(name, "ctrl+"); ok {
			msg = tea.KeyPressMsg{Code: rune(rest[0]), Mod: tea.ModCtrl}
		} else if msg.Code == 0 {
			msg = tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		}
		_, cmd = m.Update(msg)
	}
	return cmd
}

// typed presses the keys of a text.
func typed(m *model, text string) {
	for _, r := range text {
		press(m, string(r))
	}
}

// next sends the next answer, which change may change. It has no sockets unless they are of the pod that is asked about.
func next(m *model, change func(a *answer)) {
	a := firstAnswer(len(m.status.Attachments))
	a.question = m.question()
	a.history, a.page = false, api.HistoryPage{}
	if a.pod != "" {
		a.sockets, a.owners = podSockets(40), true
	}
	change(&a)
	m.Update(a)
}

func unchanged(*answer) {}

// text returns the screen as text, without blanks at the ends of lines.
func text(m *model) string {
	lines := strings.Split(ansi.Strip(m.View().Content), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// names returns the names of the rows in order.
func names(m *model) []string {
	var list []string
	for _, r := range m.pods.shown {
		list = append(list, strings.TrimPrefix(r.name, "shop/"))
	}
	return list
}

func TestKeySequencesLeadToScreens(t *testing.T) {
	for _, tt := range []struct {
		name           string
		keys           string
		want, unwanted []string
	}{
		{"the list of pods", "", []string{"[Pods]", "shop/web-2", "sort: count"}, []string{"PAUSED"}},
		{"a pod", "down enter", []string{"halfclose shop/web-1", "Loading its sockets"}, []string{"shop/web-2"}},
		{"back from a pod", "enter esc", []string{"[Pods]", "shop/web-1"}, nil},
		{"the history", "3", []string{"[History]", "destroyed", "sort: time"}, []string{"CLOSE_WAIT  FIN_WAIT2"}},
		{"the problems", "4", []string{"[Problems (2)]", "shop/web-7: inert", "To do: if the container is gone"}, nil},
		{"the next screens", "tab tab tab tab", []string{"[Pods]"}, nil},
		{"help", "?", []string{"halfclose help", "stop destroying", "show only the rows"}, []string{"shop/web-2"}},
		{"the leaks", "2", []string{"[Leaks]", "No socket counts as leaked"}, nil},
		{"help is left to where it was", "3 ? esc", []string{"[History]"}, nil},
		{"help of help", "? ? esc", []string{"[Pods]"}, nil},
		{"a filter while it is typed", "/ w e b - 1 2", []string{"Filter: web-12", "shop/web-12"}, []string{"shop/web-2 "}},
		{"a filter of several words in any order", "/ W E B space 1 4 m enter", []string{"/WEB 14m", "shop/web-1 ", "1 of 30"}, []string{"shop/web-2 "}},
		{"a filter is corrected", "/ x backspace w e b - 9 enter", []string{"/web-9", "shop/web-9"}, nil},
		{"a filter is canceled", "/ x esc", []string{"shop/web-2"}, []string{"/x"}},
		{"a filter is cleared", "/ w e b - 9 enter esc", []string{"shop/web-2"}, []string{" /web-9"}},
		{"a filter without a match", "/ z z enter", []string{"No row matches the filter: press Esc"}, nil},
		{"a filter may have the letters of keys", "/ q m n enter", []string{"/qmn"}, nil},
		{"a namespace, that of the selected pod", "n enter", []string{"namespace shop", "29 of 30", "shop/web-2"}, []string{"店舗"}},
		{"another namespace", "n ctrl+u 店 舗 enter", []string{"namespace 店舗", "1 of 30", "店舗/カート"}, []string{"shop/web-2"}},
		{"a namespace is cleared", "n enter esc", []string{"店舗/カート"}, []string{"namespace shop"}},
		{"all namespaces by an empty answer", "n enter n ctrl+u enter", []string{"店舗/カート"}, nil},
		{"pause", "p", []string{"PAUSED", "p resume"}, nil},
		{"resume", "p space", []string{"p pause"}, []string{"PAUSED"}},
		{"the switch asks first", "m", []string{"Switch: n node, s namespace shop, p pod shop/web-2; other keys cancel"}, []string{"setting the switch"}},
		{"which takes a reason", "m p I N C - 7 enter", []string{`Stop destroying on pod shop/web-2, reason "INC-7"? y: yes`}, nil},
		{"any other key than y cancels the switch", "m n enter n", []string{"shop/web-2", "q quit"}, []string{"setting the switch", "Namespace"}},
		{"unknown keys do nothing", "x é 8", []string{"shop/web-2", "q quit"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newScreen(30, 110, 50)
			press(m, strings.Fields(tt.keys)...)
			for _, want := range tt.want {
				if !strings.Contains(text(m), want) {
					t.Errorf("%q is not on the screen:\n%s", want, text(m))
				}
			}
			for _, unwanted := range tt.unwanted {
				if strings.Contains(text(m), unwanted) {
					t.Errorf("%q is on the screen:\n%s", unwanted, text(m))
				}
			}
		})
	}
}

// isQuit reports whether a command quits.
func isQuit(cmd tea.Cmd) bool {
	if cmd == nil {
		return false
	}
	_, ok := cmd().(tea.QuitMsg)
	return ok
}

func TestQuitKeys(t *testing.T) {
	for _, tt := range []struct {
		keys string
		want bool
	}{{"q", true}, {"ctrl+c", true}, {"enter q", true}, {"? q", true}, {"/ ctrl+c", true}, {"m ctrl+c", true}, {"m n ctrl+c", true}, {"m n q", false}, {"/ q", false}, {"n q", false}, {"m q", false}} {
		m := newScreen(3, 80, 24)
		m.asking = true // so that no other command is in the last one
		if got := isQuit(press(m, strings.Fields(tt.keys)...)); got != tt.want {
			t.Errorf("%s: quits %v, want %v", tt.keys, got, tt.want)
		}
	}
}

func TestRowsAreSortedLargestFirst(t *testing.T) {
	m := newScreen(5, 80, 24)
	for _, tt := range []struct {
		key, word string
		want      []string
	}{
		{"", "count", []string{"web-2", "web-1", "web-4", "web-3"}},
		{"s", "age", []string{"web-4", "web-2", "web-1", "web-3"}},
		{"s", "destroyed", []string{"web-2", "web-3", "web-4", "web-1"}},
		{"s", "name", []string{"web-0", "web-1", "web-2", "web-3"}},
		{"r", "name reversed", []string{"web-4", "web-3", "web-2", "web-1"}},
	} {
		if tt.key != "" {
			press(m, tt.key)
		}
		for _, when := range []string{"at once", "after the next answer"} {
			if got := names(m)[:4]; !slices.Equal(got, tt.want) || m.pods.sorted() != tt.word {
				t.Errorf("%s, %s: got %v, want %v", m.pods.sorted(), when, got, tt.want)
			}
			next(m, unchanged)
		}
	}
	if got := names(newScreen(9, 80, 24)); got[len(got)-1] != "web-7" {
		t.Errorf("an inert attachment is not last: %v", got)
	}
}

func TestTheSocketsOfAPodAreSortedAndFiltered(t *testing.T) {
	m := newScreen(30, 120, 60)
	press(m, "enter")
	next(m, unchanged)
	first := func() string { return m.sockets.shown[0].Peer }
	for _, want := range []string{
		"age [2001:db8:1111:2222:3333:4444:5555:7777]:65535", "idle [2001:db8:1111:2222:3333:4444:5555:7777]:65535",
		"unread [2001:db8:1111:2222:3333:4444:5555:7777]:65535", "verdict [2001:db8:1111:2222:3333:4444:5555:7777]:65535", "peer 10.0.0.3:50001",
	} {
		if got := m.sockets.sorted() + " " + first(); got != want {
			t.Errorf("sorted by %s, want %s", got, want)
		}
		press(m, "s")
	}
	press(m, "/")
	typed(m, "within 5001")
	press(m, "enter")
	if len(m.sockets.shown) != 10 { // 50010 to 50019
		t.Errorf("%d sockets match, want 10:\n%s", len(m.sockets.shown), text(m))
	}
	press(m, "esc", "esc", "down", "enter")
	if m.sockets.filter != "" {
		t.Error("the filter of one pod is that of the next")
	}
}

func TestAttachmentsOfOneContainerShareARow(t *testing.T) {
	m := newScreen(3, 80, 24)
	next(m, func(a *answer) {
		second := a.status.Attachments[1]
		second.IfName, second.Warnings = "eth1", []string{"something"}
		a.status.Attachments = append(a.status.Attachments, second)
	})
	if len(m.pods.all) != 3 {
		t.Fatalf("%d rows, want 3", len(m.pods.all))
	}
	if r := m.pods.all[1]; r.name != "shop/web-1" || !r.bad {
		t.Errorf("the row is %+v, want web-1 with the warning of its second attachment", r)
	}
}

func TestTheSelectionFollowsItsRow(t *testing.T) {
	m := newScreen(30, 80, 24)
	press(m, "down", "j")
	selected, _ := m.pods.current()
	next(m, func(a *answer) { a.status.Attachments[20].Candidates["CLOSE_WAIT"] = 10_000 }) // moves to the first place
	if now, _ := m.pods.current(); m.pods.index != 3 || now.key != selected.key {
		t.Errorf("row %d is selected, %s; want %s", m.pods.index, now.name, selected.name)
	}
	press(m, "g")
	next(m, unchanged)
	if now, _ := m.pods.current(); m.pods.index != 0 || now.name != "shop/web-2" {
		t.Errorf("at the top, row %d is selected, %s", m.pods.index, now.name)
	}
	press(m, "down")
	next(m, func(a *answer) { a.status.Attachments = slices.Delete(a.status.Attachments, 1, 2) })
	if now, _ := m.pods.current(); m.pods.index != 1 || now.name == "shop/web-1" {
		t.Errorf("row %d is selected, %s, instead of the successor of the row that has gone", m.pods.index, now.name)
	}
}

func TestTheListScrolls(t *testing.T) {
	m := newScreen(30, 80, 24)
	page := m.pods.height
	for _, tt := range []struct {
		key          string
		index, first int
	}{
		{"pgdown", page - 1, 0},
		{"pgdown", 2 * (page - 1), page - 1},
		{"up", 2*(page-1) - 1, page - 1},
		{"G", 29, 30 - page},
		{"down", 29, 30 - page},
		{"pgup", 30 - page, 30 - page},
		{"k", 29 - page, 29 - page},
		{"home", 0, 0},
		{"k", 0, 0},
	} {
		press(m, tt.key)
		if m.pods.index != tt.index || m.pods.first != tt.first {
			t.Errorf("after %s: row %d of a list from row %d, want row %d from row %d", tt.key, m.pods.index, m.pods.first, tt.index, tt.first)
		}
	}
}

func TestAnOpenPodShowsItsSocketsOnly(t *testing.T) {
	m := newScreen(30, 80, 24)
	press(m, "down", "enter")
	if m.pod == nil || m.pod.query != "000000010123456789abcdef" {
		t.Fatalf("the pod is %+v, want web-1", m.pod)
	}
	next(m, func(a *answer) { a.pod = "another" })
	if m.pod.loaded {
		t.Error("it shows the sockets of another pod")
	}
	next(m, unchanged)
	if n := len(m.sockets.all); n != 40 {
		t.Errorf("%d sockets, want 40", n)
	}
	next(m, func(a *answer) { a.status.Attachments = slices.Delete(a.status.Attachments, 1, 2) })
	if !strings.Contains(text(m), "no longer registered") {
		t.Errorf("after its DEL:\n%s", text(m))
	}
}

func TestOwnersAreRequestedAfterTheSocketsAndSeldom(t *testing.T) {
	m := newScreen(30, 80, 24)
	press(m, "enter")
	if q := m.question(); q.pod == "" || q.owners {
		t.Errorf("the first question is %+v, want the sockets without their owners", q)
	}
	next(m, func(a *answer) { a.owners = false })
	if q := m.question(); !q.owners {
		t.Errorf("the second question is %+v, want the owners too", q)
	}
	for after, want := range map[time.Duration]bool{2 * time.Second: false, 10 * time.Second: true} {
		next(m, unchanged)
		m.at = m.pod.ownersAt.Add(after)
		if q := m.question(); q.owners != want {
			t.Errorf("after %v the question is %+v", after, q)
		}
	}
	next(m, func(a *answer) {
		a.owners = false
		a.sockets.Sockets[0].Owners = nil
	})
	if !strings.Contains(text(m), "held by nginx[7]") {
		t.Errorf("the owners are forgotten between two requests for them:\n%s", text(m))
	}
}

func TestLeaksAreRequestedSeldomAndLeadToTheirPod(t *testing.T) {
	m := newScreen(30, 120, 40)
	press(m, "2")
	if !m.question().leaks {
		t.Error("the leaks are not requested at once")
	}
	next(m, func(a *answer) { a.leaks, a.list.Groups = true, leakGroups() })
	if m.question().leaks {
		t.Error("the leaks are requested again at once")
	}
	m.at = m.at.Add(ownersEvery)
	if !m.question().leaks {
		t.Error("the leaks are never requested again")
	}
	for _, want := range []string{"48 of 50 ended sockets are still held", "0.0/min", "300 within-grace"} {
		if !strings.Contains(text(m), want) {
			t.Errorf("%q is not on the screen:\n%s", want, text(m))
		}
	}
	press(m, "s", "s")
	if m.leaks.sorted() != "growth" || m.leaks.shown[0].Sockets != 12 {
		t.Errorf("sorted by %s, the first leak has %d sockets", m.leaks.sorted(), m.leaks.shown[0].Sockets)
	}
	press(m, "enter")
	if m.open || !strings.Contains(text(m), "no longer registered") {
		t.Errorf("a leak of a pod that is gone opens it:\n%s", text(m))
	}
	press(m, "G", "enter")
	if !m.open || !strings.Contains(text(m), "halfclose shop/web-2") {
		t.Errorf("a leak does not open its pod:\n%s", text(m))
	}
}

func TestTheHistoryGoesOn(t *testing.T) {
	m := newScreen(30, 120, 40)
	press(m, "3")
	page := func(id string, seq ...uint64) func(a *answer) {
		return func(a *answer) {
			a.history, a.page = true, api.HistoryPage{History: id, Since: answerTime()}
			for _, n := range seq {
				e := apitest.Entries()[0]
				e.Seq, e.Time = n, answerTime().Add(time.Duration(n)*time.Second)
				a.page.Entries, a.page.Last = append(a.page.Entries, e), n
			}
		}
	}
	next(m, page("one", 1, 2))
	if q := m.question(); !q.history || q.after.History != "one" || q.after.After != 2 {
		t.Errorf("the next question is %+v", q)
	}
	next(m, page("one", 3))
	next(m, page("one"))
	if n := len(m.history.all); n != 3 || m.history.shown[0].Seq != 3 {
		t.Errorf("%d entries, the first is %d", n, m.history.shown[0].Seq)
	}
	next(m, page("two", 1)) // of the next reaper
	if n := len(m.history.all); n != 4 {
		t.Errorf("%d entries after the reaper's restart, want 4", n)
	}
	press(m, "enter")
	if m.open || !strings.Contains(text(m), "no longer registered") {
		t.Errorf("an entry of a pod that is gone opens it:\n%s", text(m))
	}
	for i := range m.history.all {
		m.history.all[i].ContainerID = "000000020123456789abcdef"
	}
	m.history.apply()
	press(m, "enter")
	if !m.open || !strings.Contains(text(m), "halfclose shop/web-2") {
		t.Errorf("an entry does not open its pod:\n%s", text(m))
	}
}

func TestTheRateCoversTheLastMinute(t *testing.T) {
	m := newScreen(3, 80, 24)
	if got := m.rates.perSecond(destroyed); got < 1.45 || got > 1.55 { // 90 in the minute
		t.Errorf("from the history: %v/s", got)
	}
	answerAfter := func(after time.Duration, destroyed, would uint64) {
		next(m, func(a *answer) {
			a.at = m.at.Add(after)
			a.status.Counts.Destroyed = map[inetdiag.State]uint64{inetdiag.CloseWait: destroyed}
			a.status.Counts.WouldDestroy = map[inetdiag.State]uint64{inetdiag.CloseWait: would}
		})
	}
	for _, tt := range []struct {
		after                         time.Duration
		destroyed, would              uint64
		destroyedPerSecond, wouldRate float64
	}{
		{time.Minute, 1234 + 600, 60, 10, 1},
		{30 * time.Second, 1234 + 600, 60, 5, 0.5},
		{time.Hour, 1234 + 600 + 3600, 60, 1, 0},
	} {
		answerAfter(tt.after, tt.destroyed, tt.would)
		if got, would := m.rates.perSecond(destroyed), m.rates.perSecond(wouldDestroy); got != tt.destroyedPerSecond || would != tt.wouldRate {
			t.Errorf("%v later: %v/s and %v/s, want %v/s and %v/s", tt.after, got, would, tt.destroyedPerSecond, tt.wouldRate)
		}
	}
}

func TestTheTotalsOfANewReaperBeginAtZero(t *testing.T) {
	m := newScreen(3, 80, 24)
	next(m, func(a *answer) {
		a.at = m.at.Add(time.Minute)
		a.status.Holder.Since = a.at.Add(-30 * time.Second)
		a.status.Counts.Destroyed = map[inetdiag.State]uint64{inetdiag.CloseWait: 60}
		a.status.Finder.CPU = api.Seconds(3 * time.Second)
	})
	if got := m.rates.perSecond(destroyed); got != 1 {
		t.Errorf("60 in 30 s are %v/s of the last minute", got)
	}
	if m.share != 0.1 {
		t.Errorf("3 s of CPU in 30 s are %v of a core", m.share)
	}
}

func TestTheRateOfAYoungReaperCoversItsLifetime(t *testing.T) {
	m := newModel(Config{Interval: time.Second, Now: answerTime})
	a := firstAnswer(3)
	a.page.Since = a.at.Add(-10 * time.Second)
	a.page.Entries = a.page.Entries[len(a.page.Entries)-20:] // of the last 2.6 s
	m.Update(a)
	if got := m.rates.perSecond(destroyed); got != 2 {
		t.Errorf("20 in the first 10 s of a reaper are %v/s", got)
	}
}

func TestALostReaperIsShownUntilItIsBack(t *testing.T) {
	m := newScreen(3, 120, 24)
	fresh := m.View().Content
	m.Update(answer{err: errors.New("no reaper is running: nothing listens on /run/halfclose/reaper.sock")})
	for _, want := range []string{"! no answer since 15:04:05: no reaper is running: nothing listens on /run/halfclose/reaper.sock", "Mode      destroy", "shop/web-2"} {
		if !strings.Contains(text(m), want) {
			t.Errorf("%q is not in\n%s", want, text(m))
		}
	}
	if lost := m.View().Content; !strings.Contains(lost, "\x1b[2mMode") || strings.Contains(lost, "\x1b[33m") {
		t.Errorf("the last answer is not shown in a faint style:\n%q", lost)
	}
	next(m, unchanged)
	if m.View().Content != fresh {
		t.Errorf("the next answer is not shown:\n%s", text(m))
	}
}

func TestASlowReaperIsShownAsSuch(t *testing.T) {
	m := newScreen(3, 80, 24)
	m.Update(due{m.seq})
	if !m.asking {
		t.Fatal("the reaper is not asked when it is due")
	}
	seq := m.seq
	m.Update(late{seq - 1})
	if strings.Contains(text(m), "waiting") {
		t.Error("it waits for an answer that it has")
	}
	m.Update(late{seq})
	if !strings.Contains(text(m), "waiting for the reaper ...") {
		t.Errorf("it does not say that it waits:\n%s", text(m))
	}
	press(m, "down")
	if m.pods.index != 1 {
		t.Error("keys do nothing while it waits")
	}
	if m.ask() != nil {
		t.Error("a second question is asked before the answer to the first")
	}
	next(m, unchanged)
	m.Update(late{seq})
	if strings.Contains(text(m), "waiting") {
		t.Errorf("it waits after the answer:\n%s", text(m))
	}
}

func TestAPauseAsksNothing(t *testing.T) {
	m := newScreen(3, 80, 24)
	press(m, "p")
	if m.Update(due{m.seq}); m.asking {
		t.Error("it asks during the pause")
	}
	if press(m, "p"); !m.asking {
		t.Error("it does not ask at once after the pause")
	}
}

func TestASwitchIsSetAfterAReasonAndAConfirmation(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		want       api.ModeRequest
		shown      string
	}{
		{"the node", "m n enter y", api.ModeRequest{Mode: policy.Observe}, "the switch of this node is set to observe"},
		{"a namespace", "m s x space y enter y", api.ModeRequest{Scope: state.Scope{Namespace: "shop"}, Mode: policy.Observe, Reason: "x y"}, "namespace shop is set"},
		{"the open pod", "enter m p enter y", api.ModeRequest{Scope: state.Scope{Namespace: "shop", Pod: "web-2"}, Mode: policy.Observe}, "pod shop/web-2 is set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newScreen(3, 100, 24)
			var requests []api.ModeRequest
			m.cfg.SetMode = func(_ context.Context, r api.ModeRequest) error {
				requests = append(requests, r)
				return nil
			}
			m.asking = true // so that the last command is that of the switch
			keys := strings.Fields(tt.keys)
			press(m, keys[:len(keys)-1]...)
			if len(requests) > 0 {
				t.Fatalf("without a confirmation: %+v", requests)
			}
			m.Update(press(m, keys[len(keys)-1])())
			if diff := cmp.Diff([]api.ModeRequest{tt.want}, requests); diff != "" || !strings.Contains(text(m), tt.shown) {
				t.Errorf("the requests are %s, and the screen\n%s", diff, text(m))
			}
		})
	}
}

func TestASwitchIsLifted(t *testing.T) {
	m := newScreen(3, 120, 24)
	next(m, func(a *answer) {
		a.status.Mode = api.ModeView{Effective: policy.Observe, Switch: &state.Switch{Mode: policy.Observe, Who: apitest.Hostile, When: answerTime()}}
		a.status.Mode.Switches = []state.Switch{{Mode: policy.Observe, Scope: state.Scope{Namespace: "shop", Pod: "web-1"}}}
	})
	if !strings.Contains(text(m), "Switches  observe for pod shop/web-1") {
		t.Errorf("the switch of a pod is not shown:\n%s", text(m))
	}
	m.cfg.SetMode = func(_ context.Context, r api.ModeRequest) error {
		return fmt.Errorf("the disk is full: %s %v", r.ScopeName(), r.Mode)
	}
	for keys, want := range map[string]string{"m n": "Allow destroying on this node? 14 sockets are past the grace.", "m p": "Reason to stop destroying on pod shop/web-2", "down m p": "Allow destroying on pod shop/web-1? 0 sockets are past the grace."} {
		press(m, strings.Fields("g "+keys)...)
		if !strings.Contains(text(m), want) {
			t.Errorf("%s: %q is not on the screen:\n%s", keys, want, text(m))
		}
		press(m, "esc")
	}
	press(m, "m", "n")
	m.asking = true
	m.Update(press(m, "y")())
	if !strings.Contains(text(m), "the disk is full: this node destroy") {
		t.Errorf("the failure is not shown:\n%s", text(m))
	}
}

func TestPastedTextGoesToAPromptOnly(t *testing.T) {
	m := newScreen(3, 80, 24)
	if _, cmd := m.Update(tea.PasteMsg{Content: "q"}); isQuit(cmd) {
		t.Error("pasted text is taken for keys")
	}
	press(m, "/")
	m.Update(tea.PasteMsg{Content: "web-\x1b[2J\n2" + strings.Repeat("x", 300)})
	if got := m.pods.filter; !strings.HasPrefix(got, "web- [2J 2xxx") || len(got) > maxPrompt {
		t.Errorf("the filter is %q", got)
	}
}

func BenchmarkUpdate(b *testing.B) {
	a := firstAnswer(250)
	m := newScreen(250, 120, 40)
	a.history = false
	for b.Loop() {
		m.Update(a)
	}
}
