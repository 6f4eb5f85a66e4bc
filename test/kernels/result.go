// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/test/kernels/plan"
)

// result is what ran on a kernel.
type result struct {
	Series  string `json:"series"`
	Release string `json:"release"`
	Package string `json:"package"`
	// Short means that only the tests of the list short were run.
	Short bool `json:"short,omitempty"`
	// Fault is why the machine has not run everything, or what its kernel has reported.
	Fault     string        `json:"fault,omitempty"`
	NotLoaded []string      `json:"notLoaded,omitempty"` // modules, each with the reason
	Findings  []finding     `json:"findings"`
	Suites    []suiteResult `json:"suites"`
}

// finding is one of halfclose doctor's about the kernel.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"`
	What  string `json:"what"`
}

// kernelChecks lists the checks of halfclose doctor that depend on the kernel.
func kernelChecks() []string { return []string{"netns-cookie", "sock-destroy", "btf", "bpf", "peers"} }

// suiteResult is the outcome of a step.
type suiteResult struct {
	Name   string        `json:"name"`
	Part   part          `json:"part"`
	Passed int           `json:"passed"` // top-level tests
	Failed []failure     `json:"failed,omitempty"`
	Skips  []skippedTest `json:"skipped,omitempty"` // tests and subtests
	Fault  string        `json:"fault,omitempty"`   // why it has not ended as it should
}

// failure is a top-level test that has failed, or has no result.
type failure struct {
	Test   string `json:"test"`
	Output string `json:"output"`
}

// skippedTest is a test or subtest that was skipped.
type skippedTest struct {
	Test   string `json:"test"`
	Reason string `json:"reason"`
}

// passed reports whether everything ran and nothing failed.
func (r result) passed() bool {
	return r.Fault == "" && len(r.NotLoaded) == 0 && !slices.ContainsFunc(r.Suites, func(s suiteResult) bool { return !s.ok() })
}

func (s suiteResult) ok() bool { return s.Fault == "" && len(s.Failed) == 0 }

// judge makes a result of a machine's events.
func judge(k kernel, steps []step, events []plan.Event, fault string) (result, error) {
	r := result{Series: k.series, Release: k.release, Package: k.packaged, Fault: fault}
	for _, e := range events {
		switch {
		case e.Kind == plan.NotLoaded:
			r.NotLoaded = append(r.NotLoaded, e.Text)
		case e.Kind == plan.Booted && e.Text != k.release:
			return r, fmt.Errorf("the machine booted %s, not %s", e.Text, k.release)
		}
	}
	for _, s := range steps {
		if s.doctor {
			var err error
			if r.Findings, err = findingsOf(s.Name, events); err != nil {
				r.Fault = cmp.Or(r.Fault, err.Error())
			}
			continue
		}
		outcome, err := s.judge(events)
		if err != nil {
			return r, err
		}
		r.Suites = append(r.Suites, outcome)
	}
	return r, nil
}

// findingsOf returns the findings that a step has printed.
func findingsOf(name string, events []plan.Event) ([]finding, error) {
	var printed strings.Builder
	for _, e := range events {
		if e.Step == name && e.Kind == plan.Output {
			printed.WriteString(e.Text + "\n")
		}
	}
	var report struct{ Findings []finding }
	// Before it may come lines on the standard error, about checks that last.
	begin := max(0, strings.Index("\n"+printed.String(), "\n{\n"))
	if err := json.NewDecoder(strings.NewReader(printed.String()[begin:])).Decode(&report); err != nil {
		return nil, fmt.Errorf("%s: %w: %.200q", name, err, printed.String())
	}
	return slices.DeleteFunc(report.Findings, func(f finding) bool { return !slices.Contains(kernelChecks(), f.Check) }), nil
}

// judge returns the outcome of a step.
func (s step) judge(events []plan.Event) (suiteResult, error) {
	r := suiteResult{Name: s.Name, Part: s.suite.part, Fault: "it has not run"}
	var output bytes.Buffer
	for _, e := range events {
		if e.Step != s.Name {
			continue
		}
		switch e.Kind {
		case plan.Started:
			r.Fault = "it has not ended"
		case plan.Output:
			output.WriteString(e.Text + "\n")
		case plan.Ended:
			switch {
			case e.Exit == 0:
				r.Fault = ""
			case e.Text != "":
				r.Fault = e.Text
			default:
				r.Fault = fmt.Sprintf("exit status %d", e.Exit)
			}
		}
	}
	lines, err := convert(output.Bytes())
	if err != nil {
		return r, err
	}
	if s.count(&r, lines); r.Passed+len(r.Skips) == 0 && len(r.Failed) == len(s.tests) && output.Len() == 0 {
		r.Failed = nil // the fault says it
		r.Failed = append(r.Failed, failure{Test: "(all)", Output: "no result\n"})
	}
	if r.Fault != "" && len(r.Failed) == 0 {
		r.Failed = append(r.Failed, failure{Test: "(the test program)", Output: tail(output.String())})
	}
	return r, nil
}

// testLine is a line of go tool test2json.
type testLine struct{ Action, Test, Output string }

// convert converts the output of a test program.
func convert(output []byte) ([]testLine, error) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool test2json: %w", err)
	}
	var lines []testLine
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var l testLine
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("read the output of go tool test2json: %w", err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// count adds the outcome of each test of the step. One without an outcome has failed.
func (s step) count(r *suiteResult, lines []testLine) {
	outputs := make(map[string]*strings.Builder)
	ended := make(map[string]string)
	for _, l := range lines {
		if l.Test == "" {
			continue
		}
		switch l.Action {
		case "output":
			for _, test := range []string{l.Test, topOf(l.Test)} {
				if outputs[test] == nil {
					outputs[test] = new(strings.Builder)
				}
				outputs[test].WriteString(l.Output)
				if test == topOf(l.Test) {
					break
				}
			}
		case "pass", "fail", "skip":
			ended[l.Test] = l.Action
			if l.Action == "skip" {
				r.Skips = append(r.Skips, skippedTest{l.Test, skipReason(textOf(outputs[l.Test]))})
			}
		}
	}
	for _, name := range s.tests {
		switch text := textOf(outputs[name]); ended[name] {
		case "pass":
			r.Passed++
		case "skip":
			if s.noSkips && !strings.Contains(textOf(outputs[name]), "needs Linux") {
				r.Failed = append(r.Failed, failure{name, "it was skipped\n" + tail(text)})
			}
		case "fail":
			r.Failed = append(r.Failed, failure{name, tail(text)})
		default:
			r.Failed = append(r.Failed, failure{name, "it has no result\n" + tail(text)})
		}
	}
}

func topOf(test string) string {
	top, _, _ := strings.Cut(test, "/")
	return top
}

func textOf(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	return b.String()
}

// skipReason returns the text of t.Skip from a test's output: its line begins with the file and the line number.
func skipReason(output string) string {
	reason := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if place, text, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			reason = text
		}
	}
	return reason
}

// tail returns the last lines of a text.
func tail(text string) string {
	const most = 60
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

// summary describes the result for a terminal.
func (r result) summary() string {
	var b strings.Builder
	verdict := "passed"
	if !r.passed() {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "kernels: %s on Linux %s (%s)\n", verdict, r.Release, r.Package)
	for _, s := range r.Suites {
		fmt.Fprintf(&b, "  %-20s %3d passed, %d failed, %d skipped\n", s.Name, s.Passed, len(s.Failed), len(s.Skips))
		for _, skip := range s.Skips {
			fmt.Fprintf(&b, "    skipped %s: %s\n", skip.Test, skip.Reason)
		}
		for _, f := range s.Failed {
			fmt.Fprintf(&b, "    FAILED %s\n", f.Test)
			in := bufio.NewScanner(strings.NewReader(f.Output))
			for in.Scan() {
				fmt.Fprintf(&b, "      %s\n", in.Text())
			}
		}
		if s.Fault != "" {
			fmt.Fprintf(&b, "    %s: %s\n", s.Name, s.Fault)
		}
	}
	for _, m := range r.NotLoaded {
		fmt.Fprintf(&b, "  module not loaded: %s\n", m)
	}
	if r.Fault != "" {
		fmt.Fprintf(&b, "  %s\n", r.Fault)
	}
	return b.String()
}
