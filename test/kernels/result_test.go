// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/test/kernels/plan"
)

const top = "../.."

// line is a line that a test program prints for test2json.
func line(text string) plan.Event {
	return plan.Event{Kind: plan.Output, Step: "pkg/x", Text: text}
}

func TestEachTestHasAnOutcomeWhateverTheMachineReports(t *testing.T) {
	started, ended := plan.Event{Kind: plan.Started, Step: "pkg/x"}, plan.Event{Kind: plan.Ended, Step: "pkg/x"}
	exited := func(status int, text string) plan.Event {
		return plan.Event{Kind: plan.Ended, Step: "pkg/x", Exit: status, Text: text}
	}
	allPassed, someFailed := line("\x16PASS"), line("\x16FAIL")
	pass := []plan.Event{line("\x16=== RUN   TestA"), line("\x16--- PASS: TestA (0.00s)")}
	for _, tt := range []struct {
		name    string
		events  []plan.Event
		noSkips bool
		passed  int
		failed  []string // parts of the outputs
		skips   []skippedTest
		fault   string
	}{
		{name: "all pass", events: cat(started, pass, line("\x16=== RUN   TestB"), line("\x16--- PASS: TestB (0.00s)"), allPassed, ended), passed: 2},
		{
			name: "one fails", events: cat(started, pass, line("\x16=== RUN   TestB"), line("    b_test.go:1: wrong"), line("\x16--- FAIL: TestB (0.00s)"), someFailed, exited(1, "")),
			passed: 1, failed: []string{"b_test.go:1: wrong"}, fault: "exit status 1",
		},
		{name: "one never ran", events: cat(started, pass, allPassed, ended), passed: 1, failed: []string{"no result"}},
		{
			name: "the machine ends within a test", events: cat(started, pass, line("\x16=== RUN   TestB"), line("half of it")),
			passed: 1, failed: []string{"no result\n"}, fault: "it has not ended",
		},
		{
			name: "the program crashes", events: cat(started, pass, line("\x16=== RUN   TestB"), line("panic: no"), exited(2, "")),
			passed: 1, failed: []string{"panic: no"}, fault: "exit status 2",
		},
		{name: "a signal kills the program", events: cat(started, pass, exited(-1, "signal: killed")), failed: []string{"no result", "no result"}, fault: "signal: killed"},
		{
			name: "the program fails after its tests", events: cat(started, pass, line("\x16=== RUN   TestB"), line("\x16--- PASS: TestB (0.00s)"), allPassed, line("a leaked descriptor"), exited(1, "")),
			passed: 2, failed: []string{"a leaked descriptor"}, fault: "exit status 1",
		},
		{name: "nothing ran", failed: []string{"no result"}, fault: "it has not run"},
		{
			name: "one is skipped", events: cat(started, pass, line("\x16=== RUN   TestB"), line("    b_test.go:1: needs Linux 6.18: really"), line("\x16--- SKIP: TestB (0.00s)"), allPassed, ended),
			passed: 1, skips: []skippedTest{{"TestB", "needs Linux 6.18: really"}},
		},
		{
			name: "one is skipped that must run", events: cat(started, pass, line("\x16=== RUN   TestB"), line("\x16--- SKIP: TestB (0.00s)"), allPassed, ended), noSkips: true,
			passed: 1, failed: []string{"skipped"}, skips: []skippedTest{{"TestB", ""}},
		},
		{name: "other output between the lines", events: cat(started, line("=== RUN of the kernel"), pass, line("--- PASS: TestB (0.00s)"), allPassed, ended), passed: 1, failed: []string{"no result"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step{Step: plan.Step{Name: "pkg/x"}, tests: []string{"TestA", "TestB"}, noSkips: tt.noSkips}
			got, err := s.judge(tt.events)
			if err != nil {
				t.Fatal(err)
			}
			if got.Passed != tt.passed || got.Fault != tt.fault || len(got.Failed) != len(tt.failed) {
				t.Errorf("got %+v, want %d passed, %d failed, fault %q", got, tt.passed, len(tt.failed), tt.fault)
			}
			for i, want := range tt.failed {
				if i < len(got.Failed) && !strings.Contains(got.Failed[i].Output, want) {
					t.Errorf("failure %d is %+v, want %q in it", i, got.Failed[i], want)
				}
			}
			if diff := cmp.Diff(tt.skips, got.Skips); diff != "" {
				t.Errorf("skips (-want +got)\n%s", diff)
			}
			r := result{Suites: []suiteResult{got}}
			if want := len(tt.failed) == 0 && tt.fault == ""; r.passed() != want {
				t.Errorf("passed is %t, want %t", r.passed(), want)
			}
		})
	}
}

// cat concatenates events and slices of them.
func cat(parts ...any) (events []plan.Event) {
	for _, p := range parts {
		switch p := p.(type) {
		case plan.Event:
			events = append(events, p)
		case []plan.Event:
			events = append(events, p...)
		}
	}
	return events
}

func TestAMachineThatDoesNotFinishIsAFaultWithItsReason(t *testing.T) {
	const panicked = "[    1.0] Kernel panic - not syncing: Oops\n[    1.0] more\n"
	booted := plan.Event{Kind: plan.Booted}
	running := []plan.Event{booted, {Kind: plan.Started, Step: "pkg/x"}}
	finished := []plan.Event{booted, {Kind: plan.Started, Step: "pkg/x"}, {Kind: plan.Ended, Step: "pkg/x"}, {Kind: plan.Finished}}
	for _, tt := range []struct {
		name    string
		console string
		events  []plan.Event
		garbled string
		hung    bool
		want    []string // none: no fault
	}{
		{name: "it finishes", console: "[    1.0] Linux\n", events: finished},
		{name: "the kernel panics before the first process", console: panicked, want: []string{"panicked before its first process ran", "not syncing: Oops"}},
		{name: "the kernel panics in a test", console: panicked, events: running, want: []string{"panicked in pkg/x", "not syncing: Oops"}},
		{name: "it hangs in a test", events: running, hung: true, want: []string{"hung", "in pkg/x"}},
		{name: "it hangs while it boots", hung: true, want: []string{"hung", "before its first process"}},
		{name: "the emulator exits between steps", events: finished[:3], want: []string{"stopped between its steps"}},
		{name: "the report is garbled", events: finished, garbled: "xx", want: []string{"no event", "xx"}},
		{name: "the kernel warns", console: "[ 1.0] WARNING: CPU: 0 PID: 1 at net/ipv4/tcp.c:1 x\n", events: finished, want: []string{"WARNING: CPU: 0"}},
		{name: "the emulator's CPU did not run for a while", console: "[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck\n", events: finished},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{console: filepath.Join(t.TempDir(), "console")}
			if err := os.WriteFile(m.console, []byte(tt.console), 0o600); err != nil {
				t.Fatal(err)
			}
			got := m.fault(tt.events, tt.garbled, tt.hung, nil, "")
			if (got == "") != (len(tt.want) == 0) {
				t.Errorf("the fault is %q, want %q", got, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("the fault is %q, want %q in it", got, want)
				}
			}
		})
	}
}

func TestEventsAreReadUntilTheEndWhateverIsBetween(t *testing.T) {
	seen := 0
	events, garbled := readEvents(strings.NewReader(`{"kind":"booted"}`+"\nnoise\n"+`{"kind":"output","text":"a"}`+"\n{}\n"+`{"kind":"fini`), func() { seen++ })
	if len(events) != 2 || seen != 2 || events[1].Text != "a" || garbled != "noise\n" {
		t.Errorf("events %+v, seen %d, garbled %q", events, seen, garbled)
	}
}

func TestTheListsNameTestsThatExist(t *testing.T) {
	steps, err := choice{}.steps(top)
	if err != nil {
		t.Fatal(err)
	}
	if !steps[0].noSkips || len(steps[0].Without) == 0 {
		t.Errorf("the first step is %s, want the one before the modules are loaded", steps[0].Name)
	}
	short, err := choice{short: true}.steps(top)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range short {
		n += len(s.tests)
		if !s.doctor && !s.noSkips {
			t.Errorf("a test of the short list may be skipped in %s", s.Name)
		}
	}
	if n != 20 {
		t.Errorf("the short list has %d tests, want 20", n)
	}
}

func TestThePageHasTheTablesOfTheResults(t *testing.T) {
	all, err := readResults(top)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(top, matrixPage))
	if err != nil {
		t.Fatal(err)
	}
	want, err := replaceMatrix(string(page), matrix(all))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("%s (-of %s +as it is)\n%s", matrixPage, resultsFile, diff)
	}
	for _, r := range all {
		if !r.passed() {
			t.Errorf("the result of %s has a failure", r.Series)
		}
	}
}
