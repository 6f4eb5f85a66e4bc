// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	disk "github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// newTestHistory returns a history and the buffer to which it logs JSON lines.
func newTestHistory() (*history, *strings.Builder) {
	var b strings.Builder
	return newHistory(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))), &b
}

// logged returns the lines and clears the buffer.
func logged(t *testing.T, b *strings.Builder) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	b.Reset()
	return lines
}

func TestHistoryKeepsTheLastEntries(t *testing.T) {
	for _, n := range []int{0, 1, maxHistoryEntries - 1, maxHistoryEntries, maxHistoryEntries + 1, 3*maxHistoryEntries + 7} {
		j, _ := newTestHistory()
		for i := range n {
			j.add(api.Entry{Cookie: uint64(i)})
		}
		list := j.after(0)
		if want := min(n, maxHistoryEntries); len(list) != want || j.total != uint64(n) {
			t.Fatalf("of %d entries %d are kept, and %d counted", n, len(list), j.total)
		}
		for i, e := range list {
			if want := uint64(n - len(list) + i); e.Cookie != want {
				t.Fatalf("of %d entries, number %d is %d, want %d", n, i, e.Cookie, want)
			}
		}
	}
}

func TestHistoryReturnsCopies(t *testing.T) {
	j, _ := newTestHistory()
	j.add(api.Entry{Cookie: 1})
	list := j.after(0)
	list[0].Cookie = 2
	j.add(api.Entry{Cookie: 3})
	if got := j.after(0); got[0].Cookie != 1 || len(got) != 2 {
		t.Errorf("a reader changed it: %+v", got)
	}
}

func TestHistoryLogsPodSocketAndReason(t *testing.T) {
	j, b := newTestHistory()
	j.add(api.Entry{
		Time: time.Now(), Outcome: api.Destroyed, Pod: state.Pod{Namespace: "shop", Name: "cart-0"}, Network: "pods", ContainerID: "c1",
		Local: netip.MustParseAddrPort("10.0.0.1:80"), Peer: netip.MustParseAddrPort("10.0.0.2:5000"), State: inetdiag.CloseWait, Age: api.Seconds(90*time.Second + 1), Idle: api.Seconds(time.Minute),
		Grace: policy.Patience(time.Minute), Late: api.Seconds(1234 * time.Microsecond), RQueue: 1, WQueue: 2, UID: 3, Cookie: 4,
	})
	want := []map[string]any{{
		"level": "INFO", "msg": "destroyed half-closed socket", "pod_namespace": "shop", "pod": "cart-0", "network": "pods", "container": "c1",
		"local": "10.0.0.1:80", "peer": "10.0.0.2:5000", "state": "CLOSE_WAIT", "age": 90e9, "idle": 60e9, "grace": "1m", "late": 1e6,
		"rqueue_bytes": 1.0, "wqueue_bytes": 2.0, "uid": 3.0, "cookie": 4.0,
	}}
	if diff := cmp.Diff(want, logged(t, b)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestHistoryLogsSumsAboveItsRateLimit(t *testing.T) {
	j, b := newTestHistory()
	at := time.Now()
	a, c := state.Pod{Namespace: "shop", Name: "cart-0"}, state.Pod{Namespace: "shop", Name: "cart-1"}
	for range 100 { // the burst
		j.add(api.Entry{Time: at, Outcome: api.Destroyed, Pod: a})
	}
	if got := len(logged(t, b)); got != 100 {
		t.Errorf("%d of 100 have a line of their own", got)
	}
	for range 30 {
		j.add(api.Entry{Time: at, Outcome: api.Destroyed, Pod: a})
	}
	for range 5 {
		j.add(api.Entry{Time: at, Outcome: api.WouldDestroy, Pod: a})
		j.add(api.Entry{Time: at, Outcome: api.Destroyed, Pod: c})
	}
	if got := logged(t, b); got != nil {
		t.Errorf("past the rate there is %v", got)
	}
	j.flush(time.Now())
	sums := make(map[string]float64)
	for _, line := range logged(t, b) {
		what := "would"
		if strings.Contains(line["msg"].(string), "destroyed") {
			what = "destroyed"
		}
		sums[line["pod_namespace"].(string)+"/"+line["pod"].(string)+" "+what] += line["sockets"].(float64)
	}
	want := map[string]float64{"shop/cart-0 destroyed": 30, "shop/cart-0 would": 5, "shop/cart-1 destroyed": 5}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	if j.flush(time.Now()); b.Len() != 0 {
		t.Errorf("a logged sum is logged again: %s", b)
	}
	if len(j.after(0)) != 140 {
		t.Errorf("%d entries are kept", len(j.after(0)))
	}
	j.add(api.Entry{Time: at.Add(time.Second), Outcome: api.Destroyed, Pod: a}) // the rate allows some again
	if got := logged(t, b); len(got) != 1 {
		t.Errorf("a second later there is %v", got)
	}
}

func TestSecondsInJSON(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000", 1500 * time.Millisecond: "1.500", -20 * time.Millisecond: "-0.020", 90 * time.Minute: "5400.000", 400 * time.Microsecond: "0.000",
	} {
		got, err := json.Marshal(api.Seconds(d))
		if err != nil || string(got) != want {
			t.Errorf("%v is written as %s, %v, want %s", d, got, err, want)
		}
		var back api.Seconds
		if err := json.Unmarshal(got, &back); err != nil || time.Duration(back) != d.Round(time.Millisecond) {
			t.Errorf("%s is read as %v, %v", got, time.Duration(back), err)
		}
	}
	var s api.Seconds
	if err := json.Unmarshal([]byte(`"soon"`), &s); err == nil {
		t.Error("a string is taken for seconds")
	}
}

func TestLogOfAPeerThatIsGoneHasNoGrace(t *testing.T) {
	var log strings.Builder
	h := newHistory(slog.New(slog.NewTextHandler(&log, nil)))
	h.add(api.Entry{Outcome: api.PeerGone, How: "reset"})
	h.add(api.Entry{Outcome: api.Closed})
	if got := log.String(); strings.Contains(got, "grace=") || strings.Contains(got, "late=") {
		t.Errorf("logged\n%s", got)
	}
	h.add(api.Entry{Outcome: api.Destroyed, Grace: policy.Patience(time.Hour)})
	if got := log.String(); !strings.Contains(got, "grace=1h late=0s") {
		t.Errorf("logged\n%s", got)
	}
}

func TestARefusedDestroyIsInTheHistoryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns, _, k := newEndsLoop(t)
		k.refuse = unix.EPERM
		see(l, ns.Identity, idleLook(8, 0))
		k.sockets[8] = idleLook(8, 0).Socket
		time.Sleep(testGrace)
		for range 5 { // it is retried
			runUntilQuiet(l, k)
			time.Sleep(retryAfter)
		}
		list := l.history.after(0)
		if len(list) != 1 || list[0].Outcome != api.Failed || list[0].Errno != "EPERM" || list[0].Cookie != 8 || l.counts.Errors["EPERM"] < 2 {
			t.Errorf("after %v refusals the history is %+v", l.counts.Errors, list)
		}
	})
}

// diskReaper returns a reaper whose loop runs calls alone, with a history on disk.
func diskReaper(t *testing.T) (*Reaper, *loop) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "history")
	r, err := New(Config{Clock: monotime.Fake{}, Log: slog.New(slog.DiscardHandler), HistoryDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l := crowdedLoop(t)
	l.history.store = r.store
	stop := r.startHistory()
	go func() {
		for {
			select {
			case fn := <-r.calls:
				fn(l)
			case <-r.ended:
				return
			}
		}
	}()
	t.Cleanup(func() { close(r.ended); stop() })
	return r, l
}

func TestNoCountIsLostWhereMemoryEndsWithinASum(t *testing.T) {
	const sockets = 3 * maxHistoryEntries
	r, _ := diskReaper(t)
	began := time.Now()
	pods := []state.Pod{{Namespace: "shop", Name: "web-1"}, {Namespace: "shop", Name: "web-2"}}
	check := func(step string) {
		t.Helper()
		for _, tail := range []int{0, sockets, maxHistoryEntries + 3, 10} {
			want := map[state.Pod]int{pods[0]: sockets - 1, pods[1]: 1}
			got := make(map[state.Pod]int)
			entries := 0
			page, err := r.History(t.Context(), api.HistoryQuery{Tail: tail})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				got[e.Pod] += e.Sockets()
				entries++
			}
			switch {
			case tail > 0 && tail < maxHistoryEntries+5:
				if entries != tail {
					t.Errorf("%s: the last %d entries are %d", step, tail, entries)
				}
			case !maps.Equal(got, want):
				t.Errorf("%s: with tail %d there are %v, want %v", step, tail, got, want)
			}
		}
	}
	add := func(l *loop) {
		for i := range sockets {
			e := api.Entry{Time: began, Outcome: api.Destroyed, Pod: pods[0], State: inetdiag.CloseWait}
			if i == sockets/2 {
				e.Pod = pods[1]
			}
			l.history.add(e)
		}
	}
	if err := r.read(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	alone := uint64(disk.MaxPerMinuteOfKind + 1)
	nstest.Eventually(t, 20*time.Second, "the entries of single sockets are written", func() bool { return r.store.Stats().Written == alone })
	check("before the sums are written")
	if err := r.read(t.Context(), func(l *loop) { l.history.flush(began.Add(time.Minute)) }); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 20*time.Second, "the sum is written", func() bool { return r.store.Stats().Written > alone })
	check("afterwards")
}
