// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// screenOf returns the screen as text. It must have the size of the terminal.
func screenOf(t *testing.T, m *model) string {
	t.Helper()
	lines := strings.Split(m.View().Content, "\n")
	if len(lines) != m.height {
		t.Errorf("at %dx%d there are %d lines", m.width, m.height, len(lines))
	}
	for i, line := range lines {
		if w := ansi.StringWidth(line); w > m.width {
			t.Errorf("at %dx%d line %d is %d wide: %q", m.width, m.height, i, w, line)
		}
	}
	if strings.ContainsFunc(text(m), func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		t.Errorf("at %dx%d a control character is on the screen:\n%q", m.width, m.height, text(m))
	}
	return text(m)
}

// troubled returns a paused screen of a node with many problems.
func troubled(width, height int) *model {
	m := newScreen(30, width, height)
	next(m, func(a *answer) {
		s := &a.status
		s.Finder.Late = 90e9
		s.Mode = api.ModeView{Effective: policy.Observe, Reaper: policy.Observe, KernelProblem: "this kernel cannot destroy sockets: CONFIG_INET_DIAG_DESTROY is off"}
		s.Counts.WouldDestroy = map[inetdiag.State]uint64{inetdiag.CloseWait: 50}
		s.Counts.Errors = map[string]uint64{"EPERM": 4, "EIO": 1}
		s.Budget = api.BudgetView{PerSecond: 1000, Waiting: 12}
		s.Attachments[0].Problem = "open network namespace: permission denied"
		s.Attachments[1].Problem = "open network namespace: permission denied"
		s.Attachments[1].Mode, s.Attachments[1].CappedBy = policy.Observe, []string{"the reaper's --mode observe"}
		s.Problems = []api.ProblemView{{File: apitest.Hostile, Problem: "not a valid record"}}
	})
	press(m, "p")
	return m
}

// opened returns a screen with the 40 sockets of a pod.
func opened(width, height int) *model {
	m := newScreen(30, width, height)
	press(m, "enter")
	next(m, unchanged)
	return m
}

// withPanel returns a screen that is wide enough for the panel of the selected pod.
func withPanel(width, height int) *model {
	m := newScreen(30, width, height)
	next(m, unchanged)
	return m
}

// historic returns a screen with a history.
func historic(width, height int) *model {
	m := newScreen(30, width, height)
	press(m, "3")
	next(m, func(a *answer) { a.history, a.page = true, api.HistoryPage{History: "one", Entries: apitest.Entries()} })
	return m
}

// leaking returns a screen with leaks.
func leaking(width, height int) *model {
	m := newScreen(30, width, height)
	press(m, "2")
	next(m, func(a *answer) { a.leaks, a.list.Groups = true, leakGroups() })
	return m
}

func pressed(m *model, keys ...string) *model {
	press(m, keys...)
	return m
}

func TestScreens(t *testing.T) {
	for name, m := range map[string]*model{
		"pods-80x24":      newScreen(30, 80, 24),
		"pods-40x10":      newScreen(30, 40, 10),
		"pods-200x60":     withPanel(200, 60),
		"sockets-80x24":   opened(80, 24),
		"sockets-120x40":  opened(120, 40),
		"leaks-80x24":     leaking(80, 24),
		"leaks-40x10":     leaking(40, 10),
		"leaks-200x60":    leaking(200, 60),
		"history-80x24":   historic(80, 24),
		"troubled-80x24":  troubled(80, 24),
		"troubled-40x10":  troubled(40, 10),
		"problems-80x24":  pressed(troubled(80, 24), "4"),
		"help-80x24":      pressed(newScreen(30, 80, 40), "?"),
		"filter-80x24":    pressed(newScreen(30, 80, 24), "/", "w", "e", "b", "-", "2"),
		"switch-80x24":    pressed(newScreen(30, 80, 24), "m"),
		"unanswered-80x5": pressed(newScreen(0, 80, 5)),
	} {
		t.Run(name, func(t *testing.T) { golden.Text(t, name, screenOf(t, m)) })
	}
}

// fields returns the words of the line that begins with prefix, up to the panel.
func fields(t *testing.T, screen, prefix string) []string {
	t.Helper()
	for line := range strings.Lines(screen) {
		if strings.HasPrefix(line, prefix) {
			line, _, _ = strings.Cut(line, "│")
			return strings.Fields(line)
		}
	}
	t.Errorf("no line begins with %q:\n%s", prefix, screen)
	return nil
}

func TestAWiderScreenShowsMoreColumns(t *testing.T) {
	for _, tt := range []struct {
		width         int
		pods, sockets string
	}{
		{40, "POD CLOSE_WAIT OLDEST", "LOCAL PEER AGE"},
		{60, "POD CLOSE_WAIT FIN_WAIT2 OLDEST", "LOCAL PEER AGE"},
		{80, "POD CLOSE_WAIT FIN_WAIT2 OLDEST WOULD-DESTROY", "LOCAL PEER STATE AGE VERDICT"},
		{200, "POD CLOSE_WAIT FIN_WAIT2 OLDEST AGES DESTROYED WOULD-DESTROY GRACE", "LOCAL PEER STATE AGE IDLE RECV-Q SEND-Q VERDICT OWNERS"},
	} {
		if got := fields(t, screenOf(t, newScreen(30, tt.width, 50)), "  POD"); !slices.Equal(got, strings.Fields(tt.pods)) {
			t.Errorf("%d columns: the list has %v, want %v", tt.width, got, tt.pods)
		}
		if got := fields(t, screenOf(t, opened(tt.width, 50)), "LOCAL"); !slices.Equal(got, strings.Fields(tt.sockets)) {
			t.Errorf("%d columns: the sockets have %v, want %v", tt.width, got, tt.sockets)
		}
	}
	calm := newScreen(30, 80, 50)
	next(calm, func(a *answer) { a.status.Attachments[4].WouldDestroy = 0 })
	if got := fields(t, screenOf(t, calm), "  POD"); !slices.Equal(got, []string{"POD", "CLOSE_WAIT", "FIN_WAIT2", "OLDEST", "AGES", "DESTROYED"}) {
		t.Errorf("without observed sockets the list has %v", got)
	}
	wide := screenOf(t, newScreen(30, 200, 50))
	for prefix, want := range map[string]string{
		"  shop/web-2 ": "shop/web-2 194 6 3h █▃▂▁▁ 1100 0 1h", "  shop/web-4 ": "shop/web-4 7 0 3h ····█ 0 7 1h observe",
	} {
		if got := fields(t, wide, prefix); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("the row is %v, want %v", got, want)
		}
	}
}

func TestTheReasonsOfACapAreNotCut(t *testing.T) {
	reasons := "observe (the reaper's --mode observe; the kernel: this kernel cannot destroy sockets: CONFIG_INET_DIAG_DESTROY is off)"
	unfolded := func(m *model) string { return strings.Join(strings.Fields(screenOf(t, m)), " ") }
	if got := unfolded(troubled(80, 24)); !strings.Contains(got, "Mode "+reasons) {
		t.Errorf("the mode's reasons are not on the screen:\n%s", got)
	}
	m := troubled(80, 24)
	press(m, "enter", "esc", "down", "enter")
	next(m, unchanged)
	m = troubled(80, 24)
	m.pods.selected = m.pods.all[1].key
	m.pods.apply()
	press(m, "enter")
	next(m, func(a *answer) { a.status = m.status })
	if got := unfolded(m); !strings.Contains(got, "observe*, grace 1h in CLOSE_WAIT, 1h in FIN_WAIT2, capped by the reaper's --mode observe") {
		t.Errorf("the pod's reasons are not on the screen:\n%s", got)
	}
}

func TestAReasonIsNotNamedTwice(t *testing.T) {
	v := apitest.Sockets()[0]
	v.Verdict, v.Why = policy.Exempted, "exempt: local ports 22"
	lines := strings.Join(socketLines(v, 80), "\n")
	if !strings.Contains(lines, "exempt: local ports 22") || strings.Contains(lines, "exempt: exempt") {
		t.Errorf("the details are\n%s", lines)
	}
}

func TestBarsShowTheShareThatIsPastItsGrace(t *testing.T) {
	for _, tt := range []struct {
		n, overdue, highest int
		want                string
	}{
		{0, 0, 16, "·"},
		{16, 0, 16, "░░░░░░░░░░ 16"},
		{16, 16, 16, "██████████ 16"},
		{16, 12, 16, "███████░░░ 16 (12 past)"},
		{16, 1, 16, "█░░░░░░░░░ 16 (1 past)"},
		{16, 15, 16, "█████████░ 16 (15 past)"},
		{16, 12, 1600, "█░ 16 (12 past)"}, // not one cell for all of them
		{1, 0, 1600, "░ 1"},
		{1, 1, 1600, "█ 1"},
	} {
		const width = 24
		got := strings.TrimRight(ansi.Strip(bar(tt.n, tt.overdue, tt.highest, width+2*(len(strconv.Itoa(tt.highest))-2))), " ")
		if got != tt.want {
			t.Errorf("%d of %d past their grace: %q, want %q", tt.overdue, tt.n, got, tt.want)
		}
	}
}

func TestANodeWithoutAttachments(t *testing.T) {
	m := newScreen(0, 80, 24)
	next(m, func(a *answer) { a.status.Counts = api.Counts{} })
	for _, want := range []string{"0 namespaces", "No attachment is registered on this node.", "Destroyed 0, "} {
		if !strings.Contains(screenOf(t, m), want) {
			t.Errorf("%q is not in\n%s", want, text(m))
		}
	}
}

// TestObservedSocketsAreShownAsWouldDestroy checks that an operator who only observes never reads "destroy".
func TestObservedSocketsAreShownAsWouldDestroy(t *testing.T) {
	m := newScreen(30, 120, 40)
	press(m, "enter")
	next(m, func(a *answer) {
		a.sockets = podSockets(5)
		for i := range a.sockets.Sockets {
			a.sockets.Sockets[i].Verdict, a.sockets.Sockets[i].Mode = policy.WouldDestroy, policy.Observe
		}
	})
	if n := strings.Count(text(m), policy.WouldDestroy.String()); n != 7 { // five rows, their sum and the details of the selected one
		t.Errorf("%d times %s, want 7:\n%s", n, policy.WouldDestroy.String(), text(m))
	}
}

func TestSingularNouns(t *testing.T) {
	m := newScreen(1, 120, 24)
	next(m, func(a *answer) {
		a.status.Budget = api.BudgetView{PerSecond: 10, Waiting: 1}
		a.status.Attachments[0].Candidates = map[string]int{inetdiag.CloseWait.String(): 1}
	})
	seen := text(m)
	press(m, "enter")
	for _, want := range []string{"; 1 namespace, ", "1 socket waits past", "Found     1 socket, "} {
		if !strings.Contains(seen+text(m), want) {
			t.Errorf("%q is not in\n%s", want, seen+text(m))
		}
	}
}

func TestAPrintedScreenHasEveryRowAndNoKeys(t *testing.T) {
	m := newModel(Config{Now: answerTime})
	m.receive(firstAnswer(30))
	var b strings.Builder
	if err := (&View{m}).Print(&b, 80); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if i == 5 || i == 6 {
			continue // have other names
		}
		fields(t, b.String()[strings.Index(b.String(), "  POD"):], map[bool]string{false: "  ", true: "! "}[i == 7]+"shop/web-"+strconv.Itoa(i)+" ")
	}
	if strings.Contains(b.String(), "quit") || strings.Contains(b.String(), "every") || strings.Contains(b.String(), "\x1b") {
		t.Errorf("it shows keys, an interval or styles:\n%s", b.String())
	}
}

func TestAScreenFitsAnyTerminal(t *testing.T) {
	gone := newScreen(30, 80, 24)
	gone.Update(answer{err: errors.New(apitest.Hostile)})
	for name, m := range map[string]*model{
		"pods": newScreen(70, 80, 24), "panel": withPanel(200, 50), "sockets": opened(80, 24), "history": historic(80, 24), "leaks": leaking(80, 24), "gone": gone,
		"problems": pressed(troubled(80, 24), "4"), "help": pressed(newScreen(3, 80, 24), "?"), "empty": newScreen(0, 80, 24), "prompt": pressed(newScreen(3, 80, 24), "n"),
	} {
		for width := 1; width <= 190; width += 1 + width/4 {
			for height := 1; height <= 60; height += 1 + height/8 {
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				screenOf(t, m)
				if c := m.View().Cursor; c != nil && (c.X >= width || c.Y >= height) {
					t.Errorf("the cursor is at %d, %d", c.X, c.Y)
				}
				if t.Failed() {
					t.Fatalf("%s at %dx%d", name, width, height)
				}
			}
		}
	}
}

// TestTheHelpNamesEveryKey checks that the help screen, the line of keys and the keys are one list.
func TestTheHelpNamesEveryKey(t *testing.T) {
	m := newScreen(3, 80, 60)
	help := strings.Join(m.helpText(80), "\n")
	keys := make(map[string]string)
	for _, c := range m.commands() {
		if c.long == "" || !strings.Contains(help, c.Help().Key) {
			t.Errorf("no help about %v", c.Keys())
		}
		for _, k := range c.Keys() {
			if other := keys[k]; other != "" {
				t.Errorf("key %s does both: %s; %s", k, other, c.long)
			}
			keys[k] = c.long
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
		if got := padded(tt.text, tt.width); got != tt.want || term.Columns(got) != tt.width {
			t.Errorf("%q in %d columns: %q, of %d", tt.text, tt.width, got, term.Columns(got))
		}
	}
	if diff := cmp.Diff("\x1b[31mab…\x1b[0m  ", padded("\x1b[31mabc\x1b[0m", 3)+"  "); diff != "" && !strings.HasPrefix(padded("\x1b[31mabcd\x1b[0m", 3), "\x1b[31mab…") {
		t.Errorf("a styled line (-want +got)\n%s", diff)
	}
}

// FuzzScreen draws screens of any names, sizes and keys.
func FuzzScreen(f *testing.F) {
	f.Add("web-1", "kube-system", "nothing", uint8(80), uint8(24), "jjq", int64(1))
	f.Add(apitest.Hostile, "\xff\xfe", strings.Repeat("宽", 200), uint8(200), uint8(60), "Gs/a\r2j3?", int64(2))
	f.Add("e\u0301\u0301", "\u200d", "🙂", uint8(3), uint8(2), "\rm1n\x1b\r", int64(3))
	f.Fuzz(func(t *testing.T, name, namespace, warning string, width, height uint8, keys string, seed int64) {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		m := newScreen(12, max(1, int(width)), max(1, int(height)))
		change := func(a *answer) {
			for i := range a.status.Attachments {
				v := &a.status.Attachments[i]
				v.Pod.Name += name
				v.Pod.Namespace = namespace
				v.Warnings, v.CappedBy = []string{warning}, []string{warning}
				v.Destroyed, v.WouldDestroy = random.Uint64(), random.Uint64()
				v.Candidates["CLOSE_WAIT"] = random.IntN(1 << 30)
				v.Ages.CloseWait.Sockets[random.IntN(5)] = random.IntN(1 << 30)
				v.Ages.CloseWait.Overdue[random.IntN(5)] = random.IntN(1 << 30)
				v.Oldest = api.Seconds(random.Int64())
			}
			for i := range a.sockets.Sockets {
				v := &a.sockets.Sockets[i]
				v.Why, v.Local, v.Peer = warning, name, namespace
			}
		}
		next(m, change)
		screenOf(t, m)
		for _, r := range []rune(keys)[:min(len([]rune(keys)), 30)] {
			press(m, map[rune]string{'\r': "enter", '\x1b': "esc", ' ': "space", '\t': "tab"}[r]+strings.Trim(string(r), "\r\x1b \t"))
			next(m, change)
			screenOf(t, m)
		}
	})
}
