// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/simulate"
	"github.com/halfclose/halfclose/pkg/term"
)

// idleSockets are sockets of one kind for the data of halfclose simulate.
type idleSockets struct {
	pod      simulate.Pod
	count    int
	distance time.Duration // of looks
	period   time.Duration // between two bytes; 0: none moves
	verdict  simulate.Verdict
	end      simulate.End
}

// addTo adds what a reaper counts that looks at the sockets for a time.
func (s idleSockets) addTo(table simulate.Table, watched time.Duration) {
	const start = monotime.Time(time.Hour)
	h := policy.History{State: inetdiag.CloseWait, Role: policy.RoleClient, Owned: true, Since: start, Start: start, Last: start}
	var idle simulate.Track
	s.verdict.Eligible = true
	idle.Begin(&h, 0, s.verdict)
	for at := s.distance; at <= watched; at += s.distance {
		next := h
		next.Last = start.Add(at)
		if s.period > 0 && at/s.period != (at-s.distance)/s.period {
			next.Progress = next.Last
		}
		idle.Continue(&h, &next)
		idle.Set(s.verdict)
		h = next
	}
	for range s.count {
		table.Add(s.pod, &h, &idle, s.end, h.Last)
	}
}

// web is the pod with the most sockets of the tests.
var web = simulate.Pod{Namespace: "shop", Name: "web-1"}

// leaks are 290 leaked sockets, and 10 that carry a byte every 90 s.
func leaks(distance time.Duration) []idleSockets {
	return []idleSockets{
		{pod: web, count: 290, distance: distance, end: simulate.Living},
		{pod: web, count: 10, distance: distance, period: 90 * time.Second, end: simulate.Living},
	}
}

// idleDir returns a state directory with the data of a reaper that has watched the sockets for an hour.
func idleDir(t *testing.T, sockets ...idleSockets) (dir string) {
	t.Helper()
	dir = t.TempDir()
	h := simulate.NewHour(apitest.Then())
	h.Written = apitest.Then()
	for _, s := range sockets {
		table := h.Ended
		if s.end == simulate.Living {
			table = h.Living
		}
		s.addTo(table, time.Hour)
	}
	if err := simulate.NewStore(simulate.Dir(dir)).Write(h); err != nil {
		t.Fatal(err)
	}
	return dir
}

// simulateIn runs halfclose simulate a minute after the data were written.
func simulateIn(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs outputtest.Buffer
	e := &env{
		Printer: printer.Printer{
			Out: &out, Getenv: func(string) string { return "" }, Stdout: &term.Screen{Width: 80},
			Now: func() time.Time { return apitest.Then().Add(time.Minute) },
		},
		err: &errs,
	}
	code = run(t.Context(), append([]string{"simulate", "--state-dir", dir}, args...), e)
	return code, out.String(), errs.String()
}

// manyPods are sockets with every kind of answer.
func manyPods() []idleSockets {
	return append(leaks(5*time.Second),
		idleSockets{pod: simulate.Pod{Container: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}, count: 3, distance: 5 * time.Second, end: simulate.Closed},
		idleSockets{pod: simulate.Pod{Namespace: "shop", Name: "cart-0"}, count: 4, distance: 5 * time.Second, verdict: simulate.Verdict{Pending: true}, end: simulate.Unregistered},
		idleSockets{pod: simulate.Pod{Namespace: "shop", Name: "slow-\x1b[1m"}, count: 2, distance: 50 * time.Second, period: 80 * time.Second, end: simulate.Living},
		idleSockets{pod: simulate.Pod{Other: true}, count: 7, distance: 5 * time.Second, end: simulate.NetnsGone},
	)
}

func TestSimulateCountsDestroysAndWrongOnes(t *testing.T) {
	code, stdout, stderr := simulateIn(t, idleDir(t, manyPods()...), "--grace", "1m")
	golden.Text(t, "simulate", stdout+stderr)
	if code != cmdline.Success {
		t.Errorf("exit code %d", code)
	}
	for _, width := range []int{20, 40, 60, 80, 132} {
		termtest.CheckWidth(t, width, shownAt(t, width, func(e *env) error {
			e.stateDir = idleDir(t, manyPods()...)
			return e.simulate(&simulateFlags{grace: policy.Patience(time.Minute), probeAfter: policy.Never})
		}))
	}
}

func TestSimulateSuggestsAGrace(t *testing.T) {
	code, stdout, stderr := simulateIn(t, idleDir(t, leaks(5*time.Second)...), "--suggest", "--probe-after", "30s")
	golden.Text(t, "simulate-suggest", stdout+stderr)
	if code != cmdline.Success {
		t.Errorf("exit code %d", code)
	}
	var s simulation
	code, stdout, stderr = simulateIn(t, idleDir(t, leaks(5*time.Second)...), "--suggest", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != cmdline.Success || stderr != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if s.Grace != policy.Patience(2*time.Minute) || s.IgnoringClosed != s.Grace || s.Total.Wrong.Most != 0 || s.Total.Destroyed.Least != 290 || len(s.Tried) == 0 {
		t.Errorf("the suggestion is %+v", s)
	}
}

func TestSimulateAsJSON(t *testing.T) {
	code, stdout, stderr := simulateIn(t, idleDir(t, manyPods()...), "--grace", "60s", "-o", "json")
	var s simulation
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != cmdline.Success || stderr != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if s.Total.Sockets != 316 || len(s.Pods) != 5 || s.Pods[0].Pod.Name != "web-1" || s.Pods[0].Wrong != (simulate.Range{Least: 10, Most: 10}) || s.Hours != 1 {
		t.Errorf("the answer is %+v", s)
	}
}

func TestSimulateFilters(t *testing.T) {
	dir := idleDir(t, manyPods()...)
	for _, tt := range []struct {
		args    []string
		sockets string // of the total, empty if none match
	}{
		{[]string{"--pod", "shop/web-1"}, "300"},
		{[]string{"--pod", "0123456789ab"}, "3"},
		{[]string{"-n", "shop"}, "306"},
		{[]string{"--role", "client", "--state", "CLOSE_WAIT"}, "316"},
		{[]string{"--role", "server"}, ""},
		{[]string{"--state", "FIN_WAIT2"}, ""},
		{[]string{"--pod", "shop/nope"}, ""},
		{[]string{"--since", "30s"}, "316"}, // whole hours
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, stdout, stderr := simulateIn(t, dir, append(tt.args, "--grace", "1m", "--no-headers")...)
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if total := strings.Fields(lines[len(lines)-1]); tt.sockets != "" && (len(total) < 2 || total[1] != tt.sockets || code != cmdline.Success) {
				t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
			}
			if tt.sockets == "" && (code != cmdline.Failure || !strings.Contains(stderr, "no half-closed socket matches")) {
				t.Errorf("exit code %d: %s", code, stderr)
			}
		})
	}
}

func TestSimulateRefusesWhatTheDataCannotShow(t *testing.T) {
	inForce := func(s []idleSockets) []idleSockets {
		for i := range s {
			s[i].verdict.Grace = 10 * time.Minute
		}
		return s
	}
	hourly := []idleSockets{{pod: web, count: 1, distance: 5 * time.Second, period: 50 * time.Minute, verdict: simulate.Verdict{Grace: 10 * time.Minute}, end: simulate.Living}}
	for name, tt := range map[string]struct {
		sockets []idleSockets
		args    []string
		want    []string
	}{
		"looks too far apart":        {leaks(time.Minute), []string{"--grace", "60s"}, []string{"a grace of 1m: looks at the sockets were up to 1m apart", "use --grace 2m or longer", "--sample 20s"}},
		"above the grace in force":   {inForce(leaks(5 * time.Second)), []string{"--grace", "1h"}, []string{"a grace of 10m was in force (shop/web-1)", "use --grace 10m or shorter", "mode observe"}},
		"suggest between the two":    {inForce(leaks(20 * time.Minute)), []string{"--suggest"}, []string{"looks were up to 20m apart, and a grace of 10m was in force"}},
		"suggest with looks alone":   {leaks(200 * time.Hour), []string{"--suggest"}, nil},
		"suggest below a longer one": {hourly, []string{"--suggest"}, []string{"no grace up to 10m, which was in force"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := simulateIn(t, idleDir(t, tt.sockets...), tt.args...)
			if tt.want == nil {
				return
			}
			if code != cmdline.Failure {
				t.Errorf("exit code %d:\n%s", code, stdout)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is missing: %s", want, stderr)
				}
			}
		})
	}
}

func TestSimulateUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--grace", "2m", "--suggest"},
		{"--grace", "never"},
		{"--grace", "10"},
		{"--grace", "500ms"},
		{"--grace", "2m", "--role", "unknown"},
		{"--grace", "2m", "--state", "ESTABLISHED", "x"},
		{"--grace", "2m", "--since", "soon"},
		{"--suggest", "--probe-after", "-1s"},
	} {
		if code, _, stderr := simulateIn(t, t.TempDir(), args...); code != cmdline.Usage {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}

func TestSimulateSaysWhatItsDataLack(t *testing.T) {
	if code, _, stderr := simulateIn(t, t.TempDir(), "--grace", "2m"); code != cmdline.Failure || !strings.Contains(stderr, "a running reaper writes them each minute") {
		t.Errorf("without data: exit code %d: %s", code, stderr)
	}
	dir := idleDir(t, leaks(5*time.Second)...)
	if err := os.WriteFile(filepath.Join(simulate.Dir(dir), "2026-01-02T02Z.ndjson"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs outputtest.Buffer
	e := &env{Printer: printer.Printer{Out: &out, Getenv: func(string) string { return "" }, Now: func() time.Time { return apitest.Then().Add(time.Hour) }}, err: &errs}
	if code := run(t.Context(), []string{"simulate", "--state-dir", dir, "--grace", "2m"}, e); code != cmdline.Success {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"skipped a file", "no reaper has written since 2026-01-02T03:04:05Z"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is missing: %s", want, errs.String())
		}
	}
}
