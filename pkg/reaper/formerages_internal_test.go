// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// registration is the record of a pure test's network namespace.
func registration(ns *registered) state.Record {
	r := recordOf(ns.Identity.Inode, "eth0")
	r.Netns.Identity, r.Layers, r.Time = ns.Identity, LayersOf(ns.policies[0]), time.Now()
	return r
}

// lateLook is a look at a socket whose half-close no finder saw.
func lateLook(cookie uint64) finder.Seen {
	return finder.Seen{Socket: closeWait(cookie, 12*time.Hour), At: now()}
}

func TestAgesSurviveDELAndADD(t *testing.T) {
	for name, tc := range map[string]struct {
		away  time.Duration // without the registration
		other bool          // bytes have moved before that
		renew func(t *testing.T, l *loop, r state.Record) *loop
		kept  bool
	}{
		"DEL and ADD": {away: time.Second, kept: true},
		"off, and on again": {
			away: time.Second, kept: true,
			renew: func(_ *testing.T, l *loop, r state.Record) *loop {
				off := r
				off.Layers = LayersOf(policy.Policy{Mode: policy.Off})
				l.applyCensus(censusOf(l.registry, off))
				l.applyCensus(censusOf(l.registry, r))
				return l
			},
		},
		"another reaper in between": {
			away: time.Second, kept: true,
			renew: func(t *testing.T, l *loop, r state.Record) *loop {
				next, _ := newTestLoop(t, policy.Destroy)
				restart(t, l, next)
				next.applyCensus(censusOf(next.registry))
				next.applyCensus(censusOf(next.registry, r))
				return next
			},
		},
		"until the longest patience is over": {away: 2 * time.Hour, kept: false},
		"not if bytes have moved":            {away: time.Second, other: true, kept: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, ns := newTestLoop(t, policy.Destroy)
				r := registration(ns)
				l.applyCensus(censusOf(l.registry, r))
				ns = l.registry.namespaces[ns.Identity]
				see(l, ns.Identity, lateLook(7))
				start := ns.candidates[7].history.Start
				ns.candidates[7].history.Role = policy.RoleServer
				time.Sleep(time.Second)
				l.applyCensus(censusOf(l.registry))
				if len(ns.candidates) != 0 || l.ages.count != 1 {
					t.Fatalf("%d candidates, %d ages are kept", len(ns.candidates), l.ages.count)
				}
				time.Sleep(tc.away)
				if tc.renew == nil {
					l.applyCensus(censusOf(l.registry, r))
				} else {
					l = tc.renew(t, l, r)
				}
				k := new(kernel)
				if tc.other {
					k.written = map[uint64]uint64{7: 5}
				}
				ns = l.registry.namespaces[ns.Identity]
				runUntilQuiet(l, k)
				if !tc.kept && !tc.other {
					if len(ns.candidates) != 0 {
						t.Errorf("it is known with %+v", ns.candidates[7].history)
					}
					return
				}
				h := ns.candidates[7].history
				if kept := h.IdleStart(policy.ClockProgress) == start; kept != tc.kept || h.Role != policy.RoleServer {
					t.Errorf("its idle time started at %v, %v before; its role is %v", h.IdleStart(policy.ClockProgress), start, h.Role)
				}
				if l.ages.count != 0 {
					t.Errorf("%d ages are kept beside", l.ages.count)
				}
			})
		})
	}
}

func TestAShortPatienceKeepsAgesForAnHour(t *testing.T) {
	for away, kept := range map[time.Duration]int{59 * time.Minute: 1, time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			r, short := registration(ns), policy.Patience(2*time.Second)
			r.Layers = LayersOf(policy.Policy{Mode: policy.Destroy, CloseWaitGrace: short, FinWait2Grace: short, PendingGrace: short, ProbeAfter: policy.Never})
			l.applyCensus(censusOf(l.registry)) // it had a longer patience
			l.applyCensus(censusOf(l.registry, r))
			see(l, ns.Identity, lateLook(7))
			l.applyCensus(censusOf(l.registry))
			time.Sleep(away)
			l.applyCensus(censusOf(l.registry, r))
			if got := len(l.registry.namespaces[ns.Identity].candidates); got != kept {
				t.Errorf("after %v %d are kept, want %d", away, got, kept)
			}
		})
	}
}

// savedTestBoot is a boot id of the usual length.
const savedTestBoot = "01234567-89ab-cdef-0123-456789abcdef"

// restart loads the saved candidates of a loop into another loop.
// savedFile returns the file of saved candidates that a loop writes.
func savedFile(t *testing.T, l *loop) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "candidates")
	newSaver(path, l.boot, l.warnings, new(writelog.Log)).save(l.newSavePieces(maxSavedCandidates))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func restart(t *testing.T, from, to *loop) {
	t.Helper()
	from.boot, to.boot = savedTestBoot, savedTestBoot
	var err error
	to.saved.candidates, _, err = decodeCandidates(savedFile(t, from), to.boot, now())
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeptAgesAreBoundedInNumberAndTime(t *testing.T) {
	a := newAges()
	id := func(i uint64) netns.Identity { return netns.Identity{Cookie: i, Inode: i} }
	half := make([]aged, maxFormerHistories/2)
	a.keep(id(1), half, moment(3*time.Hour), moment(0))
	a.keep(id(2), half, moment(time.Hour), moment(0))
	a.keep(id(2), half, moment(2*time.Hour), moment(0)) // in place of the previous records
	a.keep(id(3), half, moment(4*time.Hour), moment(0))
	if a.former[id(2)] != nil || a.former[id(1)] == nil || a.former[id(3)] == nil || a.count != maxFormerHistories {
		t.Errorf("%d are kept, of %d network namespaces", a.count, len(a.former))
	}
	a.keep(id(4), make([]aged, 2*maxFormerHistories), moment(time.Hour), moment(0))
	if a.count != maxFormerHistories || len(a.former) != 1 {
		t.Errorf("%d are kept, of %d network namespaces", a.count, len(a.former))
	}
	if got := a.take(id(4), moment(time.Hour)); got != nil || a.count != 0 {
		t.Errorf("%d are kept for too long", len(got))
	}
}

func TestLongestPatience(t *testing.T) {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Never, policy.Patience(3*time.Hour)
	rule := p
	day, year := policy.Patience(24*time.Hour), policy.Patience(365*24*time.Hour)
	rule.Rules = []policy.Rule{{Values: policy.Values{PendingGrace: &day}}}
	long := p
	long.PendingGrace = year
	for want, policies := range map[time.Duration][]policy.Policy{
		3 * time.Hour: {p}, 24 * time.Hour: {p, rule}, maxFormerAge: {long}, 0: nil,
	} {
		if got := longestPatience(policies); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestStartWithoutUsableAgesIsCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		saved  savedAges
		record time.Duration // time from writing the file to the reaper's start
		want   bool
	}{
		"a file that cannot be read":       {saved: savedAges{lost: "checksum"}, want: true},
		"no file, and an older attachment": {saved: savedAges{missing: true}, record: time.Minute, want: true},
		"no file, and a new attachment":    {saved: savedAges{missing: true}, record: time.Second},
		"a file, and an older attachment":  {record: time.Minute},
		"no file, and no attachment":       {saved: savedAges{missing: true}, record: -1},
	} {
		t.Run(name, func(t *testing.T) {
			l, ns := newTestLoop(t, policy.Destroy)
			l.saved = tc.saved
			var records []state.Record
			if tc.record >= 0 {
				r := registration(ns)
				r.Time = l.began.Add(-tc.record)
				records = append(records, r)
			}
			l.applyCensus(censusOf(l.registry, records...))
			l.applyCensus(censusOf(l.registry, records...))
			status, m := wholeStatus(l), l.metrics()
			if got := status.AgesLost != ""; got != tc.want || m.AgesLost != map[bool]uint64{true: 1}[tc.want] {
				t.Errorf("the status says %q, the metric %d", status.AgesLost, m.AgesLost)
			}
		})
	}
}
