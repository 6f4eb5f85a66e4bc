// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestCountListed(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       int
		fails      bool
	}{
		{name: "nothing listed is none"},
		{
			name: "each line is one",
			list: "CLOSE-WAIT 1 0 127.0.0.1:46895 127.0.0.1:48706\nFIN-WAIT-2 0 0 [::1]:36658 [::1]:38519\n",
			want: 2,
		},
		{name: "another state is a mistake in the comparison", list: "ESTAB 0 0 127.0.0.1:1 127.0.0.1:2\n", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := countListed([]byte(tt.list))
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("got %d and error %v, want %d", got, err, tt.want)
			}
		})
	}
}

func TestMedianIsTheMiddleOfTheValuesInOrder(t *testing.T) {
	values := []int{9, 1, 5}
	if got := median(values); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
	if diff := cmp.Diff([]int{9, 1, 5}, values); diff != "" {
		t.Errorf("the values themselves were sorted (-want +got):\n%s", diff)
	}
}

func TestSocketsAreCounted(t *testing.T) {
	s := sockets{Shut: 2, Closed: 3, Established: 5}
	if s.halfClosed() != 7 || s.total() != 17 {
		t.Errorf("%d half-closed of %d, want 7 of 17", s.halfClosed(), s.total())
	}
}

// TestSocketsAreMade creates sockets in a namespace, and dumps their states.
func TestSocketsAreMade(t *testing.T) {
	ns := nstest.New(t)
	ns.Do(t, func() {
		fds, err := sockets{Shut: 6, Closed: 9, Established: 3}.make()
		if err != nil {
			t.Error(err)
			return
		}
		got := statesHere(t)
		closeAll(fds)
		want := map[inetdiag.State]int{inetdiag.CloseWait: 15, inetdiag.FinWait2: 6, inetdiag.Established: 6}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("made (-want +got):\n%s", diff)
		}
		if got := statesHere(t); len(got) > 0 {
			t.Errorf("left after they were closed: %v", got)
		}
	})
}

// TestRawRequestsDestroyWhatTheyName sends the requests that are compared with the reaper's to the kernel.
func TestRawRequestsDestroyWhatTheyName(t *testing.T) {
	ns := nstest.New(t)
	ns.Do(t, func() {
		fds, err := sockets{Closed: destroyBatch + 2, Established: 1}.make()
		if err != nil {
			t.Error(err)
			return
		}
		defer closeAll(fds)
		conn, err := inetdiag.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		var ids []inetdiag.ID
		err = conn.Dump(inetdiag.Filter{States: 1 << inetdiag.CloseWait}, func(s *inetdiag.Socket) error {
			ids = append(ids, s.ID)
			return nil
		})
		if err != nil {
			t.Error(err)
			return
		}
		fd, err := openRaw()
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		requests := prepare(ids)
		if err := rawDestroy(fd, requests); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[inetdiag.State]int{inetdiag.Established: 2}, statesHere(t)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if err := rawDestroy(fd, requests); err == nil {
			t.Error("destroying what is gone is no error")
		}
	})
}

// statesHere counts the sockets of the thread's namespace by state, without listeners.
func statesHere(t *testing.T) map[inetdiag.State]int {
	t.Helper()
	got := make(map[inetdiag.State]int)
	conn, err := inetdiag.Open()
	if err == nil {
		defer conn.Close()
		err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates &^ (1 << inetdiag.Listen)}, func(s *inetdiag.Socket) error {
			got[s.State]++
			return nil
		})
	}
	if err != nil {
		t.Error(err)
	}
	return got
}

func TestHandfulsHoldEverySocketOnce(t *testing.T) {
	ids := make([]inetdiag.ID, 2*destroyBatch+3)
	for i := range ids {
		local, peer := netip.MustParseAddrPort("127.0.0.1:80"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(i))
		ids[i] = inetdiag.NewID(unix.AF_INET, local, peer, 0, uint64(i+1))
	}
	var sizes []int
	for _, r := range prepare(ids) {
		sizes = append(sizes, r.n)
		const request = unix.SizeofNlMsghdr + 8 + inetdiag.SizeofID - 1
		if len(r.looks) != r.n*request || len(r.destroys) != r.n*request {
			t.Errorf("%d requests of %d and %d bytes, want %d each", r.n, len(r.looks), len(r.destroys), r.n*request)
		}
	}
	if diff := cmp.Diff([]int{destroyBatch, destroyBatch, 3}, sizes); diff != "" {
		t.Errorf("handfuls (-want +got):\n%s", diff)
	}
}

// full returns a report with all parts, with invented figures.
func full() *report {
	r := &report{
		Find: []FindRow{
			{Namespaces: 10, Sockets: 4000, HalfClosed: 2000, Way: finderName, Best: 1, Ratio: 0.9},
			{Namespaces: 252, Way: finderName, Best: 1, Ratio: 0.9},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, Way: "nsenter ss loop", Best: 100, Ratio: 1},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, Way: finderName, Best: 40, Ratio: 0.4},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, OwnTables: true, Way: finderName, Best: 20, Ratio: 0.2},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, Way: setName, Best: 0.2, Ratio: 0.002},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, Way: walkName, Best: 2, Ratio: 0.02},
			{Namespaces: 252, Sockets: 100800, HalfClosed: 50400, OwnTables: true, Way: walkName, Best: 2, Ratio: 0.02},
		},
		Steady:   []SteadyRow{{Finder: "sockdiag", Share: 1.9}, {Finder: "bpf", Share: 0.3}},
		Life:     &Life{Kernel: 900},
		Lateness: []LatenessRow{{Finder: "sockdiag", P99: 1900}, {Finder: "bpf", P99: 19, Worst: 60}},
		Burst:    []BurstRow{{Finder: "bpf", Sockets: 50000, NeverKnown: 7}},
		Destroy:  []DestroyRow{{Way: kernelName, Best: 7, Ratio: 1}, {Way: reaperName, Best: 8, Rate: 125000, Ratio: 1.14}},
		Add: []AddRow{
			{Plugin: noopName, CPURatio: 1, Ratio: 1},
			{Plugin: floorName, CPURatio: 1.3, Ratio: 1.3},
			{Plugin: externalName, CPURatio: 1.26, Ratio: 1.25},
			{Plugin: autoName, CPURatio: 1.2, Ratio: 1.3},
		},
		Ask: &Ask{
			Rows: []AskRow{
				{Way: knownName, Namespaces: 1, Sockets: 512, Best: 48, Ratio: 1},
				{Way: searchedName, Namespaces: 252, Sockets: 252, Best: 121, Ratio: 2.5},
				{Way: scriptName, Namespaces: 1, Sockets: 512, Best: 480, Ratio: 10},
			},
			Budget: 0.02, Used: 0.0199, Process: 0.021,
		},
		Growth: &Growth{Rows: []GrowthRow{
			{FindRow{Namespaces: 100, Sockets: 100_000, HalfClosed: 10_000, Way: setName, Best: 4}, 1, 0.4, 100, "0.30"},
			{FindRow{Namespaces: 100, Sockets: 100_000, HalfClosed: 10_000, Way: walkName, Best: 20}, 1, 2, 100, "0.30"},
			{FindRow{Namespaces: 1000, Sockets: 1_000_000, HalfClosed: 100_000, Way: setName, Best: 60, Ratio: 0.001}, 10, 0.6, 1000, "0.30"},
			{FindRow{Namespaces: 1000, Sockets: 1_000_000, HalfClosed: 100_000, Way: walkName, Best: 310}, 10, 3.1, 1000, "0.30"},
		}},
		Candidates: &Candidates{Few: Memory{Candidates: 50_000}, Many: Memory{Candidates: 500_000}, PerCandidate: 401, Kept: 500_000},
		Expire:     []ExpireRow{{While: "destroyed without a limit", Sockets: 100_000, P50: 50}},
		Flood:      []LatenessRow{{While: "beside a flood", Sockets: 60, P50: 3, Worst: 9, Reported: 8}},
		Locked:     []LockedRow{{Due: 8, Namespaces: 8, Lookup: 15, Lock: 1500, Ratio: 100, Window: 900, Median: 40}},
		API:        &API{Rows: []APIRow{{Way: "GET /metrics", P50: 1, Target: true}, {Way: listName, P50: 20}, {Way: loopName, P50: 100}}},
		Memory:     []Memory{{Finder: "bpf", Namespaces: 250, Candidates: 50000, Largest: 41}},
	}
	r.finish()
	return r
}

func TestTargetsAreOfTheFullestNodeAndSayWhatWasMissed(t *testing.T) {
	var met []bool
	for _, g := range full().Targets {
		met = append(met, g.Met)
	}
	want := []bool{
		true, false, // finding in one hash, in own ones
		true, false, // in the set, by the walk
		true, false, // a quiet node
		true, true, true, false, // lateness, a connection's life, a burst
		false, true, false, // growth: the set's cost, its growth, the walk's
		false, true, // memory of a candidate, ages after a restart
		true, true, // destroys per second, to the kernel's
		false, true, true, false, // ADD, external and auto, CPU and wall
		false,             // memory
		true, false, true, // asking, descriptors known and searched, and its budget
		true, false, // the API, the whole list
	}
	if diff := cmp.Diff(want, met); diff != "" {
		t.Errorf("met (-want +got):\n%s", diff)
	}
}

func TestReportIsPrinted(t *testing.T) {
	var table, doc bytes.Buffer
	if err := full().write(&table, "table"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1/2.5", "1/5.0", "MISSED", "125000", "50000", "0.300", "A BURST", "GROWTH", "CANDIDATES", "EXPIRING TOGETHER", "LIFE", "ASKING"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in the tables:\n%s", want, table.String())
		}
	}
	if err := full().write(&doc, "json"); err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(doc.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), &got); diff != "" {
		t.Errorf("read back from JSON (-want +got):\n%s", diff)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		want  []string
		fails bool
	}{
		{name: "all is measured by default", want: measures()},
		{name: "-only takes a list", args: []string{"-only", "add,find"}, want: []string{"find", "add"}},
		{name: "-only knows its words", args: []string{"-only", "fnid"}, fails: true},
		{name: "-output knows its words", args: []string{"-output", "xml"}, fails: true},
		{name: "there are no other arguments", args: []string{"find"}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parse(tt.args)
			if (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			if tt.fails {
				return
			}
			var got []string
			for _, name := range measures() {
				if o.wanted()[name] {
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("measured (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADDIsComparedRunByRun(t *testing.T) {
	run := func(cpu, wall time.Duration) taken {
		cpu, wall = cpu*time.Millisecond, wall*time.Millisecond
		return taken{cpu: []time.Duration{cpu, cpu, 100 * cpu}, wall: []time.Duration{100 * wall, wall, wall}}
	}
	rows := addRows([]*added{
		{name: noopName, runs: []taken{run(10, 20), run(20, 40), run(1000, 2000)}}, // the last on a busy machine
		{name: autoName, runs: []taken{run(15, 25), run(25, 60), run(1000, 3000)}},
	})
	want := AddRow{
		Plugin: autoName, Runs: 3, Rounds: 3, CPU: 25, P50: 60, P90: 6000, CPURatio: 1.25, Ratio: 1.5,
		CPURange: [2]float64{1, 1.5}, Range: [2]float64{1.25, 1.5},
	}
	if diff := cmp.Diff(want, rows[1]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := rows[0]; got.CPURatio != 1 || got.Ratio != 1 {
		t.Errorf("got %+v", got)
	}
}
