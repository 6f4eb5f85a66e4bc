// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

func TestTerminalInputIsParsedIntoKeys(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in       string
		complete bool
		want     []key
		rest     string
	}{
		{name: "letters", in: "jk q", want: []key{"j", "k", " ", "q"}},
		{name: "arrows", in: "\x1b[A\x1b[B", want: []key{keyUp, keyDown}},
		{name: "arrows in application mode", in: "\x1bOA\x1bOB", want: []key{keyUp, keyDown}},
		{name: "an arrow with a modifier", in: "\x1b[1;5A", want: []key{keyUp}},
		{name: "pages", in: "\x1b[5~\x1b[6~", want: []key{keyPageUp, keyPageDown}},
		{name: "home and end of three kinds of terminal", in: "\x1b[H\x1b[1~\x1b[7~\x1b[F\x1b[4~\x1b[8~", want: []key{keyHome, keyHome, keyHome, keyEnd, keyEnd, keyEnd}},
		{name: "enter", in: "\r", want: []key{keyEnter}},
		{name: "control keys", in: "\x03\x1a\x0c", want: []key{keyInterrupt, keySuspend, keyRedraw}},
		{name: "half an arrow waits for the rest", in: "j\x1b[", want: []key{"j"}, rest: "\x1b["},
		{name: "an escape character alone waits too", in: "\x1b", rest: "\x1b"},
		{name: "and is the escape key if nothing follows", in: "\x1b", complete: true, want: []key{keyEscape}},
		{name: "an escape key before another key", in: "\x1bq", want: []key{keyEscape, "q"}},
		{name: "two escape keys", in: "\x1b\x1b", complete: true, want: []key{keyEscape, keyEscape}},
		{name: "an unknown sequence is ignored", in: "\x1b[2~\x1b[200~q", want: []key{"q"}},
		{name: "a letter outside of ASCII is ignored", in: "é店q", want: []key{"q"}},
		{name: "the length of a sequence is bounded", in: "\x1b[" + strings.Repeat("1", maxSequence) + "q", want: []key{"1", "1", "q"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, rest := parseKeys([]byte(tt.in), tt.complete)
			if diff := cmp.Diff(tt.want, keys); diff != "" || string(rest) != tt.rest {
				t.Errorf("rest %q, want %q; keys (-want +got)\n%s", rest, tt.rest, diff)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("\x1b[A\x1bOB\x1b[5~q"), 3)
	f.Add([]byte("\x1b\x1b[[[;;;~"), 1)
	f.Add([]byte("\x1b["+strings.Repeat("1", 33)+"A"), 34)
	f.Fuzz(func(t *testing.T, in []byte, split int) {
		whole, rest := parseKeys(in, true)
		if len(rest) > 0 {
			t.Errorf("complete, with the rest %q", rest)
		}
		if split < 0 || split > len(in) {
			return
		}
		// Two pieces in quick succession are parsed as one.
		first, rest := parseKeys(in[:split], false)
		second, _ := parseKeys(slices.Concat(rest, in[split:]), true)
		if diff := cmp.Diff(whole, slices.Concat(first, second)); diff != "" {
			t.Errorf("split at %d (-whole +split)\n%s", split, diff)
		}
	})
}

// names returns the names of the rows in order.
func names(m *model) []string {
	var list []string
	for _, r := range m.rows {
		list = append(list, strings.TrimPrefix(r.name, "shop/"))
	}
	return list
}

func TestRowsAreSortedLargestFirst(t *testing.T) {
	for _, tt := range []struct {
		key  key
		want []string
	}{
		{"c", []string{"web-2", "web-1", "web-4", "web-3"}},
		{"a", []string{"web-4", "web-2", "web-1", "web-3"}},
		{"d", []string{"web-2", "web-3", "web-4", "web-1"}},
	} {
		m := newModel(5)
		press(m, tt.key)
		if got := names(m)[:4]; !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.key, got, tt.want)
		}
		h := firstAnswer(5)
		h.history = nil
		m.update(h)
		if got := names(m)[:4]; !slices.Equal(got, tt.want) {
			t.Errorf("%s, after the next answer: got %v, want %v", tt.key, got, tt.want)
		}
	}
	m := newModel(9)
	if got := names(m); got[len(got)-1] != "web-7" {
		t.Errorf("an inert attachment is not last: %v", got)
	}
}

func TestAttachmentsOfOneContainerShareARow(t *testing.T) {
	m := &model{}
	h := firstAnswer(3)
	second := h.status.Attachments[1]
	second.IfName, second.Warnings = "eth1", []string{"something"}
	h.status.Attachments = append(h.status.Attachments, second)
	m.update(h)
	if len(m.rows) != 3 {
		t.Fatalf("%d rows, want 3", len(m.rows))
	}
	if r := m.rows[1]; r.name != "shop/web-1" || !r.bad {
		t.Errorf("the row is %+v, want web-1 with the warning of its second attachment", r)
	}
}

func TestTheCursorFollowsItsRow(t *testing.T) {
	m := newModel(30)
	m.frame(80, 24)
	press(m, keyDown, "j")
	m.frame(80, 24)
	selected := m.rows[m.list.index].key
	h := firstAnswer(30)
	h.history = nil
	h.status.Attachments[20].Candidates["CLOSE_WAIT"] = 10_000 // moves to the first place
	m.update(h)
	m.frame(80, 24)
	if m.list.index != 3 || m.rows[3].key != selected {
		t.Errorf("the cursor is at %d, %s; want %s", m.list.index, m.rows[m.list.index].name, selected)
	}
	press(m, "g")
	m.frame(80, 24)
	h = firstAnswer(30)
	h.history = nil
	m.update(h)
	m.frame(80, 24)
	if m.list.index != 0 || m.rows[0].name != "shop/web-2" {
		t.Errorf("at the top, the cursor is at %d, %s", m.list.index, m.rows[m.list.index].name)
	}
}

func TestTheListScrolls(t *testing.T) {
	m := newModel(30)
	m.frame(80, 24)
	page := m.page
	for _, tt := range []struct {
		key          key
		index, first int
	}{
		{keyPageDown, page - 1, 0},
		{keyPageDown, 2 * (page - 1), page - 1},
		{keyUp, 2*(page-1) - 1, page - 1},
		{"G", 29, 30 - page},
		{keyDown, 29, 30 - page},
		{keyPageUp, 30 - page, 30 - page},
		{"k", 29 - page, 29 - page},
		{"g", 0, 0},
		{"k", 0, 0},
	} {
		press(m, tt.key)
		m.frame(80, 24)
		if m.list.index != tt.index || m.list.first != tt.first {
			t.Errorf("after %s: row %d of a list from row %d, want row %d from row %d", tt.key, m.list.index, m.list.first, tt.index, tt.first)
		}
	}
}

func TestEnterShowsAPodAndEscapeReturns(t *testing.T) {
	m := newModel(30)
	press(m, keyDown)
	m.frame(80, 24)
	press(m, keyEnter)
	if m.detail == nil || m.detail.query != "000000010123456789abcdef" {
		t.Fatalf("the detail is %+v, want web-1", m.detail)
	}
	if frame := shown(t, m, 80, 24); !strings.Contains(frame, "Loading its sockets") || strings.Contains(frame, "web-2") {
		t.Errorf("before they are loaded:\n%s", frame)
	}
	h := firstAnswer(30)
	h.history, h.key, h.sockets = nil, "another", podSockets(3)
	m.update(h)
	if m.detail.loaded {
		t.Error("it shows the sockets of another pod")
	}
	other := podSockets(1).Sockets[0]
	other.ContainerID = m.detail.query + "-longer"
	h.key, h.sockets.Sockets = m.detail.key, append(h.sockets.Sockets, other)
	m.update(h)
	if n := len(m.detail.sockets); n != 3 {
		t.Errorf("%d sockets, want 3", n)
	}
	h.status.Attachments = slices.Delete(h.status.Attachments, 1, 2)
	m.update(h)
	if frame := shown(t, m, 80, 24); !strings.Contains(frame, "no longer registered") {
		t.Errorf("after its DEL:\n%s", frame)
	}
	press(m, keyEscape)
	if m.detail != nil {
		t.Error("Escape did not return to the list")
	}
}

func TestTheRateCoversTheLastMinute(t *testing.T) {
	m := newModel(3)
	if got := m.rates.destroyed.perSecond(); got < 1.45 || got > 1.55 { // 90 in the minute
		t.Errorf("from the history: %v/s", got)
	}
	answerAfter := func(after time.Duration, destroyed, would uint64) {
		h := firstAnswer(3)
		h.history, h.at = nil, m.at.Add(after)
		h.status.Counts.Destroyed = map[inetdiag.State]uint64{inetdiag.CloseWait: destroyed}
		h.status.Counts.WouldDestroy = map[inetdiag.State]uint64{inetdiag.CloseWait: would}
		m.update(h)
	}
	answerAfter(time.Minute, 1234+600, 60)
	if got := m.rates.destroyed.perSecond(); got != 10 {
		t.Errorf("600 in a minute are %v/s", got)
	}
	if got := m.rates.would.perSecond(); got != 1 {
		t.Errorf("60 observed in a minute are %v/s", got)
	}
	answerAfter(30*time.Second, 1234+600, 60)
	if got := m.rates.destroyed.perSecond(); got != 5 {
		t.Errorf("and none in the next 30 s: %v/s", got)
	}
	answerAfter(time.Hour, 1234+600+3600, 60)
	if got := m.rates.destroyed.perSecond(); got != 1 {
		t.Errorf("3600 in an hour are %v/s", got)
	}
}

func TestTheTotalsOfANewReaperBeginAtZero(t *testing.T) {
	m := newModel(3)
	h := firstAnswer(3)
	h.history, h.at = nil, m.at.Add(time.Minute)
	h.status.Holder.Since = h.at.Add(-30 * time.Second)
	h.status.Counts.Destroyed = map[inetdiag.State]uint64{inetdiag.CloseWait: 60}
	h.status.Finder.CPU = api.Seconds(3 * time.Second)
	m.update(h)
	if got := m.rates.destroyed.perSecond(); got != 1 {
		t.Errorf("60 in 30 s are %v/s of the last minute", got)
	}
	if m.share != 0.1 {
		t.Errorf("3 s of CPU in 30 s are %v of a core", m.share)
	}
}

func TestTheRateOfAYoungReaperCoversItsLifetime(t *testing.T) {
	m := &model{}
	h := firstAnswer(3)
	h.history.Since = h.at.Add(-10 * time.Second)
	h.history.Entries = h.history.Entries[:20] // of the last 2.6 s
	m.update(h)
	if got := m.rates.destroyed.perSecond(); got != 2 {
		t.Errorf("20 in the first 10 s of a reaper are %v/s", got)
	}
}

func TestAPauseIsShownUntilItEnds(t *testing.T) {
	m := newModel(3)
	for _, k := range []key{"p", " "} {
		press(m, k)
		if frame := shown(t, m, 80, 24); !strings.Contains(frame, "PAUSED") || !strings.Contains(frame, "p resume") {
			t.Errorf("paused with %q:\n%s", k, frame)
		}
		press(m, k)
		if frame := shown(t, m, 80, 24); strings.Contains(frame, "PAUSED") {
			t.Errorf("resumed with %q:\n%s", k, frame)
		}
	}
}

func TestLinesAreDrawnInTheirStyles(t *testing.T) {
	l := line{{"plain ", term.Plain}, {"bold", term.Strong}, {"red", term.Bad}, {"both", term.Strong + ";" + term.Bad}}
	for _, tt := range []struct {
		name          string
		colour, faded bool
		want          string
	}{
		{"in colour", true, false, "plain \x1b[1mbold\x1b[0m\x1b[31mred\x1b[0m\x1b[1;31mboth\x1b[0m"},
		{"without", false, false, "plain \x1b[1mbold\x1b[0mred\x1b[1mboth\x1b[0m"},
		{"faded", true, true, "\x1b[2mplain \x1b[0m\x1b[2mbold\x1b[0m\x1b[2mred\x1b[0m\x1b[2mboth\x1b[0m"},
	} {
		var b strings.Builder
		l.draw(&b, tt.colour, tt.faded)
		if b.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, b.String(), tt.want)
		}
	}
}

func TestCutAndPadCountColumns(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abc", 5, "abc  "},
		{"abcd", 3, "ab…"},
		{"abc", 0, ""},
		{"abc", 1, "…"},
		{"店舗店", 5, "店舗…"},
		{"店舗店", 4, "店… "},
		{"店舗店", 6, "店舗店"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		if got := term.Pad(tt.text, tt.width); got != tt.want || term.Columns(got) != tt.width {
			t.Errorf("%q in %d columns: %q, of %d", tt.text, tt.width, got, term.Columns(got))
		}
	}
	l := line{{"abc", term.Plain}, {"def", term.Bad}}
	for width, want := range map[int]string{7: "abcdef", 6: "abcdef", 5: "abcd…", 4: "abc…", 3: "ab…", 1: "…", 0: ""} {
		if got := l.cut(width).plain(); got != want {
			t.Errorf("a line in %d columns: %q, want %q", width, got, want)
		}
	}
}

func BenchmarkTopFrame(b *testing.B) {
	h := firstAnswer(250)
	h.history = nil
	m := newModel(250)
	for b.Loop() {
		m.update(h)
		m.frame(120, 40)
	}
}

// TestObservedSocketsAreShownAsWouldDestroy checks that an operator who only observes never reads "destroy".
func TestObservedSocketsAreShownAsWouldDestroy(t *testing.T) {
	m := newModel(30)
	open(m, 5)
	for i := range m.detail.sockets {
		m.detail.sockets[i].Verdict, m.detail.sockets[i].Mode = policy.WouldDestroy, policy.Observe
	}
	frame := shown(t, m, 120, 40)
	if n := strings.Count(frame, policy.WouldDestroy.String()); n != 6 { // five rows and the details of the selected one
		t.Errorf("%d times %s, want 6:\n%s", n, policy.WouldDestroy.String(), frame)
	}
}

func TestSingularNouns(t *testing.T) {
	m := newModel(1)
	m.status.Budget = api.BudgetView{PerSecond: 10, Waiting: 1}
	m.rows[0].a.Candidates = map[string]int{inetdiag.CloseWait.String(): 1}
	frame := shown(t, m, 80, 24)
	m.detail = &detail{key: m.rows[0].key}
	frame += shown(t, m, 80, 24)
	for _, want := range []string{"v1.2.3, 1 namespace ", "1 socket waits past", "Found     1 socket, "} {
		if !strings.Contains(frame, want) {
			t.Errorf("%q is not in\n%s", want, frame)
		}
	}
}
