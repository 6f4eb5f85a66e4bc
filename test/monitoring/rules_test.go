// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/test/prometheus"
)

// alert is an alerting rule and its text.
type alert struct{ name, text string }

// alerts returns the alerting rules.
func alerts(t *testing.T) (list []alert) {
	t.Helper()
	for _, text := range strings.Split(read(t, rules+"/halfclose.rules.yaml"), "\n      - alert: ")[1:] {
		name, text, _ := strings.Cut(text, "\n")
		list = append(list, alert{name, text})
	}
	if len(list) == 0 {
		t.Fatal("no alerts")
	}
	return list
}

func TestPromtoolAcceptsTheRulesAndTheConfiguration(t *testing.T) {
	t.Parallel()
	promtool := prometheus.Need(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", rules + "/halfclose.rules.yaml"},
		{"check", "config", "--lint=all", "--lint-fatal", rules + "/prometheus.yaml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestTheRulesPassTheirUnitTests(t *testing.T) {
	t.Parallel()
	promtool := prometheus.Need(t, "promtool")
	files, err := filepath.Glob(rules + "/*.test.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("the unit tests are %q (%v), want three files", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
				t.Errorf("promtool: %v\n%s", err, out)
			}
		})
	}
}

func TestEveryAlertHasUnitTestsThatItFiresAndThatItDoesNot(t *testing.T) {
	t.Parallel()
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, file := range []string{"minutes.test.yaml", "days.test.yaml", "weeks.test.yaml"} {
		for _, test := range strings.Split(read(t, filepath.Join(rules, file)), "alertname: ")[1:] {
			name, test, _ := strings.Cut(test, "\n")
			switch {
			case strings.HasPrefix(strings.TrimSpace(test), "exp_alerts: []"):
				quiet[name] = true
			case strings.HasPrefix(strings.TrimSpace(test), "exp_alerts:\n"):
				fires[name] = true
			}
		}
	}
	want := make(map[string]bool)
	for _, a := range alerts(t) {
		want[a.name] = true
	}
	if diff := cmp.Diff(want, fires); diff != "" {
		t.Errorf("alerts with a test that they fire (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, quiet); diff != "" {
		t.Errorf("alerts with a test that they do not fire (-want +got)\n%s", diff)
	}
}

func TestEveryAlertHasASeverityTextsAndARunbook(t *testing.T) {
	t.Parallel()
	for _, a := range alerts(t) {
		for _, want := range []string{
			`severity: (info|warning)\n`, `\n          summary: '.+'\n`, `\n          description: >-\n`,
			`\n          runbook_url: https://github\.com/halfclose/halfclose/blob/main/docs/alerts\.md#` + strings.ToLower(a.name) + `\n`,
		} {
			if !regexp.MustCompile(want).MatchString(a.text) {
				t.Errorf("%s does not match %q", a.name, want)
			}
		}
		if a.name != "HalfcloseReapersAbsent" && strings.Count(a.text, "{{ $labels.instance }}") < 2 {
			t.Errorf("%s does not name the node in summary and description", a.name)
		}
	}
}

func TestEveryAlertHasASectionInTheRunbook(t *testing.T) {
	t.Parallel()
	var want []string
	for _, a := range alerts(t) {
		want = append(want, a.name)
	}
	var got []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (Halfclose[A-Za-z]+)$`).FindAllStringSubmatch(read(t, top+"/docs/alerts.md"), -1) {
		got = append(got, heading[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headings of docs/alerts.md that alerts link to (-want +got)\n%s", diff)
	}
}
