// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// entryAt returns an entry of a pod.
func entryAt(at time.Time, i int, pod string) api.Entry {
	return api.Entry{
		Seq: uint64(i), Time: at, Outcome: api.Destroyed, Pod: state.Pod{Namespace: "shop", Name: pod}, ContainerID: "c-" + pod,
		Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), 40000+uint16(i%1000)), Peer: netip.MustParseAddrPort("10.0.0.7:443"),
		State: inetdiag.CloseWait, Age: api.Seconds(time.Duration(i) * time.Second), Owners: []owners.Process{{PID: 7, Command: "java"}},
	}
}

func TestEntriesOfOneKindAreLimitedPerMinute(t *testing.T) {
	var l history.Limiter
	now := newClock().Wall()
	admitted := make(map[string]int)
	for i := range 100 {
		for _, pod := range []string{"a", "b"} {
			e := entryAt(now.Add(time.Duration(i)*100*time.Millisecond), i+1, pod)
			if l.Admit(&e) {
				admitted[pod]++
			}
		}
	}
	if admitted["a"] != history.MaxPerMinuteOfKind || admitted["b"] != history.MaxPerMinuteOfKind {
		t.Errorf("of 100 each, %v have an entry of their own", admitted)
	}
	if sums := l.Sums(now.Add(59 * time.Second)); sums != nil {
		t.Errorf("before the end of the minute there are sums: %+v", sums)
	}
	sums := l.Sums(now.Add(time.Minute))
	if len(sums) != 2 {
		t.Fatalf("%d sums", len(sums))
	}
	s := sums[0]
	if s.Pod.Name != "a" || s.Sockets() != 80 || s.First != now.Add(2*time.Second) || s.Time != now.Add(9900*time.Millisecond) || s.Seq != 100 ||
		s.Peer.String() != "10.0.0.7:443" || s.Local.String() != "10.0.0.1:0" || s.Age != api.Seconds(100*time.Second) || len(s.Owners) != 1 {
		t.Errorf("the sum is %+v", s)
	}
	e := entryAt(now.Add(time.Minute), 1, "a")
	if !l.Admit(&e) || l.Sums(now.Add(10*time.Minute)) != nil {
		t.Error("the next minute has limits of the last one")
	}
}

func TestEntriesOfTheNodeAreLimitedPerMinute(t *testing.T) {
	var l history.Limiter
	now := newClock().Wall()
	admitted, summed := 0, 0
	for i := range 10_000 {
		e := entryAt(now, i+1, fmt.Sprint("pod-", i))
		if l.Admit(&e) {
			admitted++
		}
	}
	sums := l.Sums(now.Add(time.Hour))
	for _, s := range sums {
		summed += s.Sockets()
	}
	if admitted != history.MaxPerMinute || admitted+summed != 10_000 || len(sums) > 700 {
		t.Errorf("%d entries, and %d in %d sums", admitted, summed, len(sums))
	}
	if last := sums[len(sums)-1]; last.Pod != (state.Pod{}) || last.Outcome != api.Destroyed {
		t.Errorf("the last sum is %+v", last)
	}
}

func TestAClockThatIsSetBackEndsTheMinute(t *testing.T) {
	var l history.Limiter
	now := newClock().Wall()
	for i := range 30 {
		e := entryAt(now, i+1, "a")
		l.Admit(&e)
	}
	if sums := l.Sums(now.Add(-time.Hour)); len(sums) != 1 || sums[0].Sockets() != 10 {
		t.Errorf("the sums are %+v", sums)
	}
}

func TestOwnersOnDiskAreBounded(t *testing.T) {
	e := entryAt(newClock().Wall(), 1, "a")
	e.Owners = slices.Repeat(e.Owners, 300)
	if got := history.ForDisk(e); len(got.Owners)+got.MoreOwners != 300 || len(got.Owners) > 10 || len(e.Owners) != 300 {
		t.Errorf("%d owners and %d more", len(got.Owners), got.MoreOwners)
	}
}

// writeEntries writes entries of two runs.
func writeEntries(t *testing.T) (dir string, begin time.Time) {
	t.Helper()
	dir, clock := historyDir(t), newClock()
	begin = clock.Wall()
	for _, run := range []string{history.RunAt(begin), history.RunAt(begin.Add(10 * time.Second))} {
		write(t, history.WriterConfig{Dir: dir, Clock: clock, Run: run}, func(w *history.Writer) {
			for i := range 10 {
				pod := []string{"web", "db"}[i%2]
				w.Append(history.KindEntry, clock.Wall(), entryAt(clock.Wall(), i+1, pod))
				clock.pass(time.Second)
			}
			w.Append(kindNote, clock.Wall(), note{N: 1})
		})
	}
	return dir, begin
}

// selected returns the seconds after begin of the selected entries.
func selected(t *testing.T, dir string, begin time.Time, q api.HistoryQuery) (list []int) {
	t.Helper()
	if err := reader(t, dir).Entries(&q, nil, func(e *api.Entry) error {
		list = append(list, int(e.Time.Sub(begin)/time.Second))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEntriesAreSelected(t *testing.T) {
	dir, begin := writeEntries(t)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for name, tt := range map[string]struct {
		q    api.HistoryQuery
		want []int
	}{
		"by time":           {api.HistoryQuery{EntryFilter: api.EntryFilter{Since: at(8), Until: at(11)}}, []int{8, 9, 10, 11}},
		"by pod":            {api.HistoryQuery{EntryFilter: api.EntryFilter{PodQuery: api.PodQuery{Pod: "shop/db"}, Since: at(15)}}, []int{15, 17, 19}},
		"the newest":        {api.HistoryQuery{Tail: 3}, []int{17, 18, 19}},
		"the newest of one": {api.HistoryQuery{Tail: 2, EntryFilter: api.EntryFilter{PodQuery: api.PodQuery{Pod: "web"}}}, []int{16, 18}},
		"by address":        {api.HistoryQuery{EntryFilter: api.EntryFilter{Ends: ends(t, "10.0.0.7", "10.0.0.1:40003")}}, []int{2, 12}},
		"no such address":   {api.HistoryQuery{EntryFilter: api.EntryFilter{Ends: ends(t, "10.0.0.8")}}, nil},
		"no such outcome":   {api.HistoryQuery{EntryFilter: api.EntryFilter{Outcome: api.Failed}}, nil},
	} {
		if got := selected(t, dir, begin, tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func ends(t *testing.T, addresses ...string) (d api.Ends) {
	t.Helper()
	for i, to := range []*api.End{&d.A, &d.B} {
		if i < len(addresses) {
			var err error
			if *to, err = api.ParseEnd(addresses[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d
}

func TestAFollowerGetsWhatAnEarlierReaperWroteAfterItsLastEntry(t *testing.T) {
	dir, begin := writeEntries(t)
	first, second := history.RunAt(begin), history.RunAt(begin.Add(10*time.Second))
	for name, tt := range map[string]struct {
		run   string
		after uint64
		want  int
	}{
		"all but the first two": {first, 2, 18}, "those of the next reaper": {first, 10, 10}, "the last one": {second, 9, 1}, "none": {second, 10, 0},
		"of a reaper that wrote nothing": {history.RunAt(begin.Add(5 * time.Second)), 0, 10}, "of no run": {"j", 0, 0},
	} {
		got, isWhole := reader(t, dir).After(tt.run, tt.after, 1000, nil)
		if len(got) != tt.want || isWhole != (name != "of no run") {
			t.Errorf("%s: %d entries, whole: %v", name, len(got), isWhole)
		}
		if !slices.IsSortedFunc(got, func(a, b api.Entry) int { return a.Time.Compare(b.Time) }) {
			t.Errorf("%s: not in their order", name)
		}
	}
	if got, isWhole := reader(t, dir).After(first, 0, 5, nil); len(got) != 5 || isWhole || got[4].Seq != 10 {
		t.Errorf("limited to 5: %d, whole: %v", len(got), isWhole)
	}
}
