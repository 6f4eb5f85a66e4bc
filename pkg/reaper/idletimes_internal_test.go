// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// endsOf counts the sockets of a table by how they ended.
func endsOf(t simulate.Table) map[simulate.End]uint64 {
	ends := make(map[simulate.End]uint64)
	for k, c := range t {
		ends[k.End] += c.Sockets
	}
	return ends
}

// TestEveryEndIsCounted ends one socket in every way, beside one that lives.
func TestEveryEndIsCounted(t *testing.T) {
	for end, act := range map[simulate.End]func(l *loop, ns *registered, k *kernel){
		simulate.Closed: func(l *loop, ns *registered, k *kernel) {
			k.gone = map[uint64]bool{7: true}
			l.tracker.handle(ns.candidates[7], eventNotShown, now())
			runUntilQuiet(l, k)
		},
		simulate.Destroyed: func(l *loop, ns *registered, k *kernel) {
			time.Sleep(testGrace)
			l.tracker.handle(ns.candidates[8], eventForgotten, now()) // the living one must not be destroyed
			l.takeEnded()
			runUntilQuiet(l, k)
		},
		simulate.PeerGone: func(l *loop, ns *registered, _ *kernel) {
			c := ns.candidates[7]
			c.step.phase = phaseAsking
			l.asked[c] = 1
			l.answered([]prober.Answer{{Question: &prober.Question{Netns: ns.Netns, ID: c.history.ID, Tag: 1}, Result: prober.Reset}}, now())
		},
		simulate.Orphaned: func(l *loop, ns *registered, k *kernel) {
			orphan := lateLook(7)
			orphan.Socket.Inode = 0
			see(l, ns.Identity, orphan)
			k.gone = map[uint64]bool{7: true} // later: it does not count again
			l.tracker.handle(ns.candidates[7], eventNotShown, now())
			runUntilQuiet(l, k)
		},
		simulate.Unregistered: func(l *loop, _ *registered, _ *kernel) { l.applyCensus(censusOf(l.registry)) },
		simulate.NetnsGone: func(l *loop, ns *registered, _ *kernel) {
			l.failed(ns.Identity, fs.ErrNotExist)
		},
	} {
		t.Run(string(end), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns := newTestLoop(t, policy.Destroy)
				l.ready = true
				see(l, ns.Identity, lateLook(7), lateLook(8))
				time.Sleep(10 * time.Second)
				act(l, ns, new(kernel))
				want := map[simulate.End]uint64{end: 1}
				if end == simulate.Unregistered || end == simulate.NetnsGone {
					want[end] = 2 // both
				}
				if diff := cmp.Diff(want, endsOf(l.takeEnded())); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if len(l.takeEnded()) != 0 {
					t.Error("they were taken, and count again")
				}
				living := make(simulate.Table)
				l.addLiving(living, ns, now())
				if n := endsOf(living)[simulate.Living]; n > 1 || n == 0 && want[end] == 1 && end != simulate.Destroyed {
					t.Errorf("%d sockets live", n)
				}
			})
		})
	}
}

// TestConnectionOfTheSameSocketCountsOnItsOwn connects a socket again, with the same cookie.
func TestConnectionOfTheSameSocketCountsOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Observe)
		see(l, ns.Identity, lateLook(7))
		time.Sleep(10 * time.Second)
		other := lateLook(7)
		other.Socket.Info.BytesReceived = 3
		see(l, ns.Identity, other)
		if got := endsOf(l.takeEnded()); got[simulate.Closed] != 1 || len(got) != 1 {
			t.Errorf("the first connection ended as %v", got)
		}
	})
}

func TestRestartKeepsIdleTimesAndDoublesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, ns := newTestLoop(t, policy.Observe)
		r := registration(ns)
		first.applyCensus(censusOf(first.registry, r))
		ns = first.registry.namespaces[ns.Identity]
		see(first, ns.Identity, lateLook(7), lateLook(8), lateLook(9))
		time.Sleep(9 * time.Minute)
		see(first, ns.Identity, lateLook(7), lateLook(8), lateLook(9))
		time.Sleep(time.Minute)
		moved := lateLook(7)
		moved.Socket.Info.BytesAcked += 5
		see(first, ns.Identity, moved, lateLook(8), lateLook(9))

		next, _ := newTestLoop(t, policy.Observe)
		restart(t, first, next)
		time.Sleep(time.Hour)
		next.applyCensus(censusOf(next.registry, r))
		ns = next.registry.namespaces[ns.Identity]
		runUntilQuiet(next, &kernel{written: map[uint64]uint64{7: 5}, gone: map[uint64]bool{8: true}})
		if ended := next.takeEnded(); len(ended) != 0 {
			t.Errorf("a socket that ended while no reaper ran counts as %v", endsOf(ended))
		}
		living := make(simulate.Table)
		next.addLiving(living, ns, now())
		d := &simulate.Data{Tables: []simulate.Table{living}}
		o := d.Estimate(&simulate.Query{Grace: 5 * time.Minute}).Total
		if o.Sockets != 2 || o.Destroyed != (simulate.Range{Least: 2, Most: 2}) || o.Wrong != (simulate.Range{Least: 1, Most: 1}) {
			t.Errorf("after the restart: %+v", o)
		}
		if l := d.Limits(&simulate.Query{Grace: 5 * time.Minute}); l.Distance != 9*time.Minute {
			t.Errorf("the distance of looks is %v: it is that of the first reaper, without the pause", l.Distance)
		}
	})
}

// TestDELAndADDCountASocketOnce unregisters a network namespace with an idle socket, and registers it again.
func TestDELAndADDCountASocketOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ns := newTestLoop(t, policy.Observe)
		r := registration(ns)
		l.applyCensus(censusOf(l.registry, r))
		ns = l.registry.namespaces[ns.Identity]
		see(l, ns.Identity, lateLook(7))
		time.Sleep(time.Minute)
		l.applyCensus(censusOf(l.registry))
		l.applyCensus(censusOf(l.registry, r))
		runUntilQuiet(l, new(kernel))
		ns = l.registry.namespaces[ns.Identity]
		living := make(simulate.Table)
		l.addLiving(living, ns, now())
		if got := endsOf(l.takeEnded()); got[simulate.Unregistered] != 1 || len(living) != 0 {
			t.Errorf("ended: %v, living: %v", got, endsOf(living))
		}
		if len(ns.candidates) != 1 {
			t.Error("the socket is not known again")
		}
	})
}

func TestGraceInForceIsOfModeDestroy(t *testing.T) {
	for mode, want := range map[policy.Mode]time.Duration{policy.Destroy: testGrace, policy.Observe: 0} {
		l, ns := newTestLoop(t, mode)
		see(l, ns.Identity, lateLook(7))
		living := make(simulate.Table)
		l.addLiving(living, ns, now().Add(5*time.Second))
		if got := (&simulate.Data{Tables: []simulate.Table{living}}).Limits(&simulate.Query{}).Grace; got != want {
			t.Errorf("%v: the grace in force is %v, want %v", mode, got, want)
		}
	}
}

func TestSampleBoundsTheDistanceOfLooks(t *testing.T) {
	p := policy.Default()
	r := newRegistry()
	for _, sample := range []time.Duration{0, 5 * time.Second, time.Hour} {
		r.sample = sample
		updateTo(r, moment(0), recordOf(1, "eth0"))
		for _, ns := range r.namespaces {
			want := time.Duration(p.ProbeAfter) / 4
			if sample == 5*time.Second {
				want = sample
			}
			if ns.Interval != want || sample == 5*time.Second && (ns.Repair != want || ns.Patience > 4*want) {
				t.Errorf("with a sample of %v it is swept each %v, walks come each %v, for a patience of %v", sample, ns.Interval, ns.Repair, ns.Patience)
			}
		}
	}
}

// counted returns a table with as many sockets that were idle for a minute.
func counted(sockets int, end simulate.End) simulate.Table {
	table := make(simulate.Table)
	at := moment(0)
	h := policy.History{State: inetdiag.CloseWait, Owned: true, Since: at, Start: at, Last: at.Add(time.Minute)}
	for range sockets {
		var idle simulate.Track
		idle.Begin(&h, 0, simulate.Verdict{Eligible: true})
		table.Add(simulate.Pod{Name: "web"}, &h, &idle, end, h.Last)
	}
	return table
}

// TestSavedIdleTimesSurviveKills replaces the saver without a last write, as after kill -9.
func TestSavedIdleTimesSurviveKills(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "idle")
	w := newWarnings(slog.New(slog.DiscardHandler))
	at := time.Date(2026, 11, 30, 3, 10, 0, 0, time.UTC)
	totals := func() map[simulate.End]uint64 {
		hours, problems, err := simulate.NewStore(dir).Since(time.Time{}, time.Now())
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		sum := make(map[simulate.End]uint64)
		for _, table := range simulate.NewData(hours).Tables {
			for end, n := range endsOf(table) {
				sum[end] += n
			}
		}
		return sum
	}
	first := newIdleSaver(dir, w, nil)
	first.save(counted(2, simulate.Closed), counted(5, simulate.Living), at)
	first.save(counted(1, simulate.Destroyed), counted(4, simulate.Living), at.Add(time.Minute))
	second := newIdleSaver(dir, w, nil) // the first was killed
	second.save(counted(1, simulate.Closed), counted(3, simulate.Living), at.Add(2*time.Minute))
	if diff := cmp.Diff(map[simulate.End]uint64{simulate.Closed: 3, simulate.Destroyed: 1, simulate.Living: 3}, totals()); diff != "" {
		t.Errorf("after a kill (-want +got):\n%s", diff)
	}
	second.save(counted(1, simulate.Closed), counted(2, simulate.Living), at.Add(time.Hour)) // the next hour
	if diff := cmp.Diff(map[simulate.End]uint64{simulate.Closed: 4, simulate.Destroyed: 1, simulate.Living: 2}, totals()); diff != "" {
		t.Errorf("in the next hour (-want +got):\n%s", diff)
	}
	if n := w.all()[WarnIdleTimes]; n != 0 {
		t.Errorf("%d warnings", n)
	}
}

func TestIdleTimesThatCannotBeWrittenAreKeptForTheNextAttempt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "idle")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // in place of the directory
		t.Fatal(err)
	}
	var log outputtest.Buffer
	w := newWarnings(slog.New(slog.NewTextHandler(&log, nil)))
	writes := new(writelog.Log)
	at := time.Date(2026, 11, 30, 3, 10, 0, 0, time.UTC)
	s := newIdleSaver(dir, w, writes)
	for i := range 3 {
		s.save(counted(1, simulate.Closed), nil, at.Add(time.Duration(i)*time.Minute))
	}
	if n := strings.Count(log.String(), "cannot save idle times"); n != 1 {
		t.Errorf("%d warnings of three failures:\n%s", n, log.String())
	}
	if f := writes.Failures(); len(f) != 1 || f[0].Name != api.UnwritableIdleTimes {
		t.Errorf("the failures are %+v", f)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.save(counted(1, simulate.Closed), nil, at.Add(3*time.Minute))
	h, err := simulate.NewStore(dir).Load(at)
	if err != nil || endsOf(h.Ended)[simulate.Closed] != 4 {
		t.Errorf("written were %v, %v", endsOf(h.Ended), err)
	}
	if f := writes.Failures(); len(f) != 0 {
		t.Errorf("the failures are %+v", f)
	}
}
