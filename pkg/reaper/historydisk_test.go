// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// onDisk keeps the history of a node's reapers in its state directory.
func onDisk(n *node) func(*reaper.Config) {
	return func(c *reaper.Config) { c.HistoryDir = history.Dir(n.store.Dir()) }
}

// countOf returns the number of entries of a socket in the whole history, and how many sockets this reaper would have
// destroyed.
func (n *node) countOf(cookie uint64) (entries int, counted uint64) {
	n.tb.Helper()
	for _, e := range n.history() {
		if e.Cookie == cookie {
			entries += e.Sockets()
		}
	}
	return entries, n.status().Counts.WouldDestroy[inetdiag.CloseWait]
}

// awaitAnother waits until a socket that was half-closed now would have been destroyed: the restored ones come first.
func (n *node) awaitAnother(ns *nstest.NS) (cookie uint64) {
	n.tb.Helper()
	conn := shut(n.tb, ns.Connect(n.tb, nstest.IPv4)).Server
	n.awaitEntry(conn, api.WouldDestroy)
	return cookieOf(n.tb, conn)
}

func TestAWouldDestroyIsRecordedOnceOverRestarts(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := offNode(t)
		n.start(finder, impatient, onDisk(n))
		record := n.register(ns, timing(inetdiag.CloseWait, soon, observe))
		busy := shut(t, ns.Connect(t, nstest.IPv4))
		still := n.awaitAnother(ns)
		n.awaitEntry(busy.Server, api.WouldDestroy)
		for range 2 {
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			n.start(finder, impatient, onDisk(n))
			n.awaitAnother(ns)
			if entries, counted := n.countOf(still); entries != 1 || counted != 1 {
				t.Errorf("after a restart it is in the history %d times, and %d were counted, want 1 and the new one", entries, counted)
			}
		}
		// An unregistration in between changes nothing.
		if err := n.store.Delete(record.Attachment); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "it is unregistered", func() bool { return n.status().Namespaces == 0 })
		n.register(ns, timing(inetdiag.CloseWait, soon, observe))
		n.awaitAnother(ns)
		if entries, counted := n.countOf(still); entries != 1 || counted != 2 {
			t.Errorf("after DEL and ADD it is in the history %d times, and %d were counted", entries, counted)
		}
		// Another idle time is another entry.
		answers(t, busy)
		cookie := cookieOf(t, busy.Server)
		nstest.Eventually(t, patience, "it is recorded a second time", func() bool { entries, _ := n.countOf(cookie); return entries == 2 })
	})
}

// TestAKillDoublesNoWouldDestroy puts back the files as they were while a reaper ran: a killed one leaves them so.
func TestAKillDoublesNoWouldDestroy(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := offNode(t)
		n.start(finder, impatient, onDisk(n))
		n.register(ns, timing(inetdiag.CloseWait, soon, observe))
		n.awaitAnother(ns)
		var cookies []uint64
		for i := range 3 { // at once, and later after the next save
			if i == 2 {
				nstest.Eventually(t, patience, "this reaper's first entry is written", func() bool { return n.status().History.Written > 0 })
			}
			cookies = append(cookies, n.awaitAnother(ns))
			kept := t.TempDir()
			if err := os.CopyFS(kept, os.DirFS(n.store.Dir())); err != nil {
				t.Fatal(err)
			}
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"candidates", "history"} {
				if err := os.RemoveAll(filepath.Join(n.store.Dir(), name)); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(filepath.Join(kept, name)); err != nil {
					continue
				}
				if err := os.Rename(filepath.Join(kept, name), filepath.Join(n.store.Dir(), name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(n.store.Dir(), "history"), 0o700); err != nil {
				t.Fatal(err)
			}
			n.start(finder, impatient, onDisk(n))
			n.awaitAnother(ns)
			for _, cookie := range cookies {
				if entries, _ := n.countOf(cookie); entries > 1 {
					t.Errorf("after %d kills a socket is in the history %d times", i+1, entries)
				}
			}
		}
	})
}

func TestTheHistoryOfEarlierReapersIsListedAndFollowed(t *testing.T) {
	ns := newNS(t)
	n := offNode(t)
	n.start("sockdiag", impatient, onDisk(n))
	n.register(ns, timing(inetdiag.CloseWait, soon))
	destroy := func(count int) {
		for range count {
			p := shut(t, ns.Connect(t, nstest.IPv4))
			n.awaitEntry(p.Server, api.Destroyed)
		}
	}
	destroy(15)
	page, err := n.History(context.Background(), api.HistoryQuery{Tail: 5})
	if err != nil || len(page.Entries) != 5 || page.Last != 15 {
		t.Fatalf("the last 5 of 15 are %d, up to %d: %v", len(page.Entries), page.Last, err)
	}
	destroy(2)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n.start("sockdiag", impatient, onDisk(n))
	destroy(3)
	next, err := n.History(context.Background(), api.HistoryQuery{History: page.History, After: page.Last, Wait: time.Hour})
	if err != nil || len(next.Entries) != 5 || next.History == page.History || next.Last != 3 {
		t.Errorf("a follower gets %d entries, up to %d: %v", len(next.Entries), next.Last, err)
	}
	for q, want := range map[*api.HistoryQuery]int{
		{}:         20,
		{Tail: 2}:  2,
		{Tail: 10}: 10,
		{EntryFilter: api.EntryFilter{Since: page.Entries[4].Time}}:                                 6,
		{EntryFilter: api.EntryFilter{Until: page.Entries[4].Time}}:                                 15,
		{EntryFilter: api.EntryFilter{Outcome: api.WouldDestroy}}:                                   0,
		{EntryFilter: api.EntryFilter{Ends: api.Ends{A: api.End{AddrPort: page.Entries[0].Local}}}}: 1,
	} {
		got, err := n.History(context.Background(), *q)
		if err != nil || len(got.Entries) != want || got.Missed != 0 || !got.Since.Before(got.Began) {
			t.Errorf("%+v selects %d entries, want %d: %v, %+v", *q, len(got.Entries), want, err, got.Problems)
		}
		if !slices.IsSortedFunc(got.Entries, func(a, b api.Entry) int { return a.Time.Compare(b.Time) }) {
			t.Errorf("%+v: not in their order", *q)
		}
	}
}
