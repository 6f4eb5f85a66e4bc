// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// answerTime is the time of the answers.
func answerTime() time.Time { return time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC) }

// pod returns an attachment with numbers of sockets by age. Sockets of 15 minutes and more are past their grace.
func pod(i int, closeWait, finWait2 [5]int) api.AttachmentView {
	a := api.AttachmentView{
		Attachment: state.Attachment{ContainerID: fmt.Sprintf("%08x0123456789abcdef", i), IfName: "eth0"}, Network: "pods",
		Pod: state.Pod{Namespace: "shop", Name: fmt.Sprintf("web-%d", i)}, Netns: fmt.Sprintf("/run/netns/cni-%d", i),
		Policy: api.PolicyView(policy.Default()), Mode: policy.Destroy, Candidates: map[string]int{},
	}
	for state, counts := range map[inetdiag.State][5]int{inetdiag.CloseWait: closeWait, inetdiag.FinWait2: finWait2} {
		c := &a.Ages.CloseWait
		if state == inetdiag.FinWait2 {
			c = &a.Ages.FinWait2
		}
		c.Sockets = counts
		for b, n := range counts {
			if b >= 3 {
				c.Overdue[b] = n
			}
			a.Candidates[state.String()] += n
			if n > 0 {
				oldest := []time.Duration{30 * time.Second, 4 * time.Minute, 14 * time.Minute, 50 * time.Minute, 3 * time.Hour}[b]
				a.Oldest = max(a.Oldest, api.Seconds(oldest+time.Duration(i)*time.Second))
			}
		}
	}
	return a
}

// nodeStatus returns the status of a node with pods. The first few leak.
func nodeStatus(pods int) api.Status {
	s := api.Status{
		Version: buildinfo.Info{Version: "v1.2.3"}, Holder: api.Holder{PID: 42, Since: answerTime().Add(-100 * time.Minute)},
		ReaperStatus: api.ReaperStatus{
			Finder:     api.FinderView{Name: "sockdiag", Sweeps: 1234, CPU: api.Seconds(50 * time.Second)},
			Mode:       api.ModeView{Effective: policy.Destroy, Reaper: policy.Destroy},
			Namespaces: pods, Candidates: map[string]int{},
			AgeBounds: []api.Seconds{
				api.Seconds(time.Minute), api.Seconds(5 * time.Minute), api.Seconds(15 * time.Minute), api.Seconds(time.Hour),
			},
			Counts: api.Counts{Destroyed: map[inetdiag.State]uint64{inetdiag.CloseWait: 1200, inetdiag.FinWait2: 34}},
		},
	}
	for i := range pods {
		a := pod(i, [5]int{}, [5]int{})
		switch i {
		case 1:
			a = pod(i, [5]int{3, 10, 5, 0, 0}, [5]int{})
		case 2:
			a = pod(i, [5]int{120, 40, 22, 9, 3}, [5]int{4, 0, 0, 2, 0})
			a.Destroyed = 1100
		case 3:
			a = pod(i, [5]int{}, [5]int{1, 1, 0, 0, 0})
			a.Destroyed = 134
		case 4:
			a = pod(i, [5]int{0, 0, 0, 0, 7}, [5]int{})
			a.Mode, a.WouldDestroy = policy.Observe, 7
		case 5:
			a.Pod.Name, a.Warnings = apitest.Hostile, []string{"annotation " + apitest.Hostile + " is ignored"}
		case 6:
			a.Pod.Namespace, a.Pod.Name = "店舗", "カート-非常に長い名前のポッド-0123456789"
			a.Candidates["CLOSE_WAIT"], a.Ages.CloseWait.Sockets[2], a.Oldest = 2, 2, api.Seconds(10*time.Minute)
		case 7:
			a.Inert, a.Mode = "recorded before the last boot", policy.Off
		}
		s.Attachments = append(s.Attachments, a)
		for b := range 5 {
			s.Ages.CloseWait.Sockets[b] += a.Ages.CloseWait.Sockets[b]
			s.Ages.CloseWait.Overdue[b] += a.Ages.CloseWait.Overdue[b]
			s.Ages.FinWait2.Sockets[b] += a.Ages.FinWait2.Sockets[b]
			s.Ages.FinWait2.Overdue[b] += a.Ages.FinWait2.Overdue[b]
		}
		for state, n := range a.Candidates {
			s.Candidates[state] += n
		}
	}
	return s
}

// firstAnswer returns the first answer of the reaper of that node.
func firstAnswer(pods int) answer {
	at := answerTime()
	page := api.HistoryPage{Since: at.Add(-100 * time.Minute)}
	for i := range 90 {
		page.Entries = append(page.Entries, api.Entry{
			Time: at.Add(-time.Duration(i*i) * 7 * time.Millisecond), Outcome: api.Destroyed,
		})
	}
	return answer{at: at, status: nodeStatus(pods), history: &page}
}

func newModel(pods int) *model {
	t := &model{interval: 2 * time.Second}
	t.update(firstAnswer(pods))
	return t
}

// shown returns a frame as text. It must have the size of the screen.
func shown(t *testing.T, m *model, width, height int) string {
	t.Helper()
	lines := m.frame(width, height)
	if height > 0 && len(lines) != height {
		t.Errorf("at %dx%d there are %d lines", width, height, len(lines))
	}
	var b strings.Builder
	for i, l := range lines {
		if w := l.width(); w > width {
			t.Errorf("at %dx%d line %d is %d wide: %q", width, height, i, w, l.plain())
		}
		b.WriteString(l.plain())
		b.WriteByte('\n')
	}
	if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
		t.Errorf("at %dx%d a control character is in the frame:\n%q", width, height, b.String())
	}
	return b.String()
}

// podSockets returns sockets of a pod, the oldest first.
func podSockets(n int) api.SocketList {
	list := api.SocketList{}
	for i := range n {
		v := api.SocketView{
			ContainerID: "000000020123456789abcdef", Pod: state.Pod{Namespace: "shop", Name: "web-2"},
			Local: "10.0.0.2:443", Peer: fmt.Sprintf("10.0.0.3:%d", 50000+i), State: inetdiag.CloseWait, Cookie: uint64(i + 1),
			Age: apitest.Seconds(time.Hour - time.Duration(i)*time.Minute), Idle: apitest.Seconds(9 * time.Minute), RQueue: 1, Inode: uint32(100 + i),
			Verdict: policy.WithinGrace, Why: "half-closed for 9m of its 10m grace", Deadline: apitest.Seconds(time.Minute), Mode: policy.Destroy,
		}
		switch i {
		case 0:
			v.Local, v.Peer = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", "[2001:db8:1111:2222:3333:4444:5555:7777]:65535"
			v.Verdict, v.RQueue, v.Why, v.Deadline = policy.UnreadData, 4097, "its owner has 4096 bytes to read", nil
			v.Owners = []owners.Process{{PID: 7, Command: "nginx"}, {PID: 8, Command: apitest.Hostile}}
		case 1:
			v.State = inetdiag.FinWait2
		}
		list.Sockets = append(list.Sockets, v)
	}
	return list
}

// press presses keys in sequence.
func press(m *model, keys ...key) {
	for _, k := range keys {
		m.press(k)
	}
}

// open opens the detail of the first pod.
func open(m *model, sockets int) {
	press(m, keyEnter)
	h := firstAnswer(len(m.status.Attachments))
	h.history = nil
	h.key, h.sockets, h.owners = m.detail.key, podSockets(sockets), true
	m.update(h)
}

// withProblems returns a paused model of a node with many problems.
func withProblems() *model {
	m := newModel(30)
	h := firstAnswer(30)
	h.history, h.at = nil, h.at.Add(10*time.Second)
	h.status.Finder.CPU += api.Seconds(time.Second)
	h.status.Finder.Late = api.Seconds(90 * time.Second)
	h.status.Mode = api.ModeView{Effective: policy.Observe, Reaper: policy.Observe, KernelProblem: "this kernel cannot destroy sockets"}
	h.status.Counts.WouldDestroy = map[inetdiag.State]uint64{inetdiag.CloseWait: 50}
	h.status.Counts.Errors = map[string]uint64{"EPERM": 4, "EIO": 1}
	h.status.Budget = api.BudgetView{PerSecond: 1000, Waiting: 12}
	h.status.Attachments[0].Problem = "open network namespace: permission denied"
	h.status.Attachments[1].Problem = "open network namespace: permission denied"
	h.status.Problems = []api.ProblemView{{File: apitest.Hostile, Problem: "not a valid record"}}
	m.update(h)
	press(m, " ")
	return m
}

// detailed returns a model with the detail of a pod that has 40 sockets.
func detailed() *model {
	m := newModel(30)
	open(m, 40)
	press(m, keyDown, keyUp)
	return m
}

func TestFrames(t *testing.T) {
	for _, tt := range []struct {
		name          string
		model         *model
		width, height int
	}{
		{"busy-80x24", newModel(30), 80, 24},
		{"busy-40x10", newModel(30), 40, 10},
		{"detail-120x40", detailed(), 120, 40},
		{"problems", withProblems(), 80, 24},
	} {
		t.Run(tt.name, func(t *testing.T) { golden.Text(t, tt.name, shown(t, tt.model, tt.width, tt.height)) })
	}
}

// fields returns the words of the line that begins with prefix.
func fields(t *testing.T, frame, prefix string) []string {
	t.Helper()
	for line := range strings.Lines(frame) {
		if strings.HasPrefix(line, prefix) {
			return strings.Fields(line)
		}
	}
	t.Errorf("no line begins with %q:\n%s", prefix, frame)
	return nil
}

func TestAWiderScreenShowsMoreColumns(t *testing.T) {
	for _, tt := range []struct {
		width         int
		pods, sockets []string
	}{
		{40, []string{"POD", "CLOSE_WAIT", "OLDEST"}, []string{"LOCAL", "PEER", "AGE"}},
		{60, []string{"POD", "CLOSE_WAIT", "FIN_WAIT2", "OLDEST"}, []string{"LOCAL", "PEER", "AGE"}},
		{80, []string{"POD", "CLOSE_WAIT", "FIN_WAIT2", "OLDEST", "AGES", "DESTROYED"}, []string{"LOCAL", "PEER", "STATE", "AGE", "VERDICT"}},
		{
			200,
			[]string{"POD", "CLOSE_WAIT", "FIN_WAIT2", "OLDEST", "AGES", "DESTROYED", "GRACE"},
			[]string{"LOCAL", "PEER", "STATE", "AGE", "IDLE", "RECV-Q", "SEND-Q", "VERDICT", "OWNERS"},
		},
	} {
		if got := fields(t, shown(t, newModel(30), tt.width, 50), "  POD"); !slices.Equal(got, tt.pods) {
			t.Errorf("%d columns: the list has %v, want %v", tt.width, got, tt.pods)
		}
		if got := fields(t, shown(t, detailed(), tt.width, 50), "LOCAL"); !slices.Equal(got, tt.sockets) {
			t.Errorf("%d columns: the detail has %v, want %v", tt.width, got, tt.sockets)
		}
	}
	wide := shown(t, newModel(30), 200, 50)
	if got, want := fields(t, wide, "  shop/web-2 "), []string{"shop/web-2", "194", "6", "3h", "█▃▂▁▁", "1100", "1h"}; !slices.Equal(got, want) {
		t.Errorf("the row is %v, want %v", got, want)
	}
	if got, want := fields(t, wide, "  shop/web-4 "), []string{"shop/web-4", "7", "0", "3h", "····█", "0", "(7)", "1h", "observe"}; !slices.Equal(got, want) {
		t.Errorf("the row of an observed pod is %v, want %v", got, want)
	}
}

func TestANodeWithoutAttachments(t *testing.T) {
	m := &model{interval: time.Second}
	h := firstAnswer(0)
	h.history.Entries, h.status.Counts = nil, api.Counts{}
	m.update(h)
	frame := shown(t, m, 80, 24)
	for _, want := range []string{"0 namespaces", "No attachment is registered on this node.", "Destroyed 0, 0/s"} {
		if !strings.Contains(frame, want) {
			t.Errorf("%q is not in\n%s", want, frame)
		}
	}
}

func TestALostReaperKeepsItsLastAnswerOnTheScreen(t *testing.T) {
	m := newModel(3)
	m.update(answer{err: errors.New("no reaper is running: nothing listens on /run/halfclose/reaper.sock")})
	frame := shown(t, m, 120, 24)
	for _, want := range []string{"! no answer since 15:04:05: no reaper is running: nothing listens on /run/halfclose/reaper.sock", "Mode      destroy", "shop/web-2"} {
		if !strings.Contains(frame, want) {
			t.Errorf("%q is not in\n%s", want, frame)
		}
	}
}

func TestAPrintedFrameHasEveryRowAndNoKeys(t *testing.T) {
	m := newModel(30)
	m.interval = 0
	frame := shown(t, m, 80, 0)
	for i := range 30 {
		if i == 5 || i == 6 {
			continue // have other names
		}
		fields(t, frame[strings.Index(frame, "  POD"):], fmt.Sprintf("%sshop/web-%d ", map[bool]string{false: "  ", true: "! "}[i == 7], i))
	}
	if strings.Contains(frame, "quit") || strings.Contains(frame, "every") {
		t.Errorf("it shows keys or an interval:\n%s", frame)
	}
}

func TestAFrameFitsAnyScreen(t *testing.T) {
	gone := newModel(30)
	gone.update(answer{err: errors.New(apitest.Hostile)})
	for name, m := range map[string]*model{"list": newModel(70), "detail": detailed(), "gone": gone, "empty": newModel(0)} {
		for width := 1; width <= 130; width += 3 {
			for height := 1; height <= 60; height += 1 + height/25*2 { // above 25 only the list grows
				shown(t, m, width, height)
				if t.Failed() {
					t.Fatalf("%s", name)
				}
			}
		}
	}
}

// FuzzFrame draws frames of any names, sizes and keys.
func FuzzFrame(f *testing.F) {
	f.Add("web-1", "kube-system", "nothing", uint8(80), uint8(24), "jjq", int64(1))
	f.Add(apitest.Hostile, "\xff\xfe", strings.Repeat("宽", 200), uint8(40), uint8(10), "GdGa\rj", int64(2))
	f.Add("e\u0301\u0301", "\u200d", "🙂", uint8(3), uint8(2), "\r\x1b[6~\x1b", int64(3))
	f.Fuzz(func(t *testing.T, name, namespace, warning string, width, height uint8, typed string, seed int64) {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		h := firstAnswer(12)
		for i := range h.status.Attachments {
			a := &h.status.Attachments[i]
			a.Pod.Name += name
			a.Pod.Namespace = namespace
			a.Warnings = []string{warning}
			a.Destroyed = random.Uint64()
			a.Candidates["CLOSE_WAIT"] = random.IntN(1 << 30)
			a.Ages.CloseWait.Sockets[random.IntN(5)] = random.IntN(1 << 30)
			a.Oldest = api.Seconds(random.Int64())
		}
		m := &model{interval: time.Second}
		m.update(h)
		keys, _ := parseKeys([]byte(typed), true)
		for _, k := range keys[:min(len(keys), 20)] {
			m.press(k)
			if m.detail != nil && !m.detail.loaded {
				sockets := podSockets(random.IntN(30))
				for i := range sockets.Sockets {
					sockets.Sockets[i].Why, sockets.Sockets[i].Local = warning, name
				}
				m.update(answer{at: h.at, status: h.status, key: m.detail.key, sockets: sockets, owners: true})
			}
			shown(t, m, max(1, int(width)), max(1, int(height)))
		}
		shown(t, m, max(1, int(width)), max(1, int(height)))
	})
}
