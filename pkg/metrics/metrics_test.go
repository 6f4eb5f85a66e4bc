// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

var update = flag.Bool("update", false, "write the results to testdata, to review the difference")

// fake is a Reaper with these metrics, or with an error.
type fake struct {
	metrics  reaper.Metrics
	lateness prometheus.Histogram
	err      error
}

func (f *fake) Metrics(context.Context) (reaper.Metrics, error) { return f.metrics, f.err }
func (f *fake) Histograms() prometheus.Collector                { return f.lateness }

func newFake(m reaper.Metrics) *fake {
	return &fake{metrics: m, lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "halfclose_destroy_lateness_seconds", Help: "Lateness.", Buckets: []float64{.005, 2.5, 60},
	})}
}

// text returns one scrape of f.
func (f *fake) text(tb testing.TB) string {
	tb.Helper()
	e := metrics.NewExporter(f, buildinfo.Info{Version: "v1.2.3", Commit: "0123abc", Go: "go1.26.0", Platform: "linux/amd64"})
	text, err := e.Text(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// everything returns metrics in which each field has a value.
func everything() reaper.Metrics {
	const ms = time.Millisecond
	return reaper.Metrics{
		Finder: "sockdiag", Mode: policy.Observe, Attachments: 5, Inert: 2, Netns: 4, RecordProblems: 3, Unreachable: 1, AgesLost: 1,
		Sockets: map[reaper.CountKey]int{
			{State: inetdiag.CloseWait, Namespace: "shop"}: 120, {State: inetdiag.FinWait2, Namespace: "shop"}: 7, {State: inetdiag.CloseWait}: 0,
		},
		Oldest: map[inetdiag.State]time.Duration{inetdiag.CloseWait: 26 * time.Hour, inetdiag.FinWait2: 1500 * ms},
		Destroyed: map[reaper.CountKey]uint64{
			{State: inetdiag.FinWait2, Namespace: "shop"}:  2,
			{State: inetdiag.CloseWait, Namespace: "shop"}: 1 << 50,
			{State: inetdiag.CloseWait}:                    1,
			{State: inetdiag.FinWait2}:                     0,
		},
		WouldDestroy: map[reaper.CountKey]uint64{
			{State: inetdiag.CloseWait, Namespace: "bill\"ing\\\n"}: 9,
			{State: inetdiag.CloseWait, Namespace: "\xff"}:          8,
		},
		PeerGone: map[reaper.GoneKey]uint64{
			{CountKey: reaper.CountKey{State: inetdiag.FinWait2, Namespace: "shop"}, How: "timeout"}: 3,
			{CountKey: reaper.CountKey{State: inetdiag.FinWait2, Namespace: "shop"}, How: "reset"}:   2,
			{CountKey: reaper.CountKey{State: inetdiag.CloseWait}, How: "reset"}:                     1,
		},
		PeersAsked:    map[string]uint64{"alive": 12, "sigpipe": 2, "reset": 3, "kernel": 0},
		WouldAsk:      14,
		StaleLookups:  15,
		Spared:        map[policy.Reason]int{policy.WithinGrace: 13, policy.PeerAlive: 5, policy.Destroyable: 1, policy.MPTCP: 0},
		SparedTotal:   map[policy.Reason]uint64{policy.WithinGrace: 130, policy.UnreadData: 11, policy.Exempted: 0},
		DestroyErrors: map[string]uint64{"EPERM": 6, "EOPNOTSUPP": 0},
		Queued:        40,
		SweepCPU:      3210 * ms, SweepLag: 90 * time.Second, Crowded: 2, EventsMissed: 10,
		Warnings:         map[string]uint64{"records": 2, "switch": 0},
		PolicyFileErrors: 3, HistoryLost: 17, Wall: time.Unix(90_000, 0),
		Switches: []state.Switch{
			{Scope: state.Scope{Namespace: "shop", Pod: "web-1"}, When: time.Unix(3600, 0)},
			{Scope: state.Scope{Namespace: "shop", Pod: "web-2"}, When: time.Unix(7200, 0)},
			{Scope: state.Scope{Namespace: "bank"}},
		},
		Adoption:        api.AdoptionView{Adopted: 6, Unregistered: 2, Skipped: map[api.AdoptionReason]int{api.AdoptStale: 5}},
		DescriptorsHeld: 48, DescriptorsClosed: 2, NearFileLimit: 1,
		Unwritable:  map[string]bool{"attachments": true, "candidates": false},
		WriteErrors: map[string]uint64{"attachments": 3, "candidates": 0},
	}
}

// ours returns the lines of our own metrics: the values of the process and of the Go runtime vary.
func ours(text string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(line string) bool { return line != "" && !strings.Contains(line, "halfclose_") })
	return strings.Join(lines, "")
}

// parse reads a scrape with Prometheus' own parser.
func parse(tb testing.TB, text string) map[string]*dto.MetricFamily {
	tb.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		tb.Fatalf("cannot parse the scrape: %v\n%s", err, text)
	}
	return families
}

func TestAScrapeHasEveryMetric(t *testing.T) {
	t.Parallel()
	f := newFake(everything())
	for _, late := range []float64{.001, .005, 2.6, 61} {
		f.lateness.Observe(late)
	}
	got := ours(f.text(t))
	const path = "testdata/everything.prom"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the scrape differs from %s; if that is intended, run the test with -update (-want +got)\n%s", path, diff)
	}
}

func TestScrapesHaveTheSameOrder(t *testing.T) {
	t.Parallel()
	f := newFake(everything())
	first := ours(f.text(t))
	for range 20 {
		if diff := cmp.Diff(first, ours(f.text(t))); diff != "" {
			t.Fatalf("another order (-first +now)\n%s", diff)
		}
	}
}

func TestTheLinterAcceptsAScrape(t *testing.T) {
	t.Parallel()
	text := newFake(everything()).text(t)
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	wrong := strings.ReplaceAll(text, "halfclose_would_ask_total", "halfclose_would_ask")
	if problems, err := promlint.New(strings.NewReader(wrong)).Lint(); err != nil || len(problems) != 1 {
		t.Errorf("the linter accepts a counter without _total: %v %v", problems, err)
	}
}

func TestAScrapeHasTheMetricsOfTheProcessAndOfTheGoRuntime(t *testing.T) {
	t.Parallel()
	families := parse(t, newFake(reaper.Metrics{}).text(t))
	started := families["process_start_time_seconds"].GetMetric()
	if len(started) != 1 {
		t.Fatalf("no start time in %v", families)
	}
	if age := float64(time.Now().Unix()) - started[0].GetGauge().GetValue(); age < -2 || age > time.Hour.Seconds() {
		t.Errorf("the process started %v s ago", age)
	}
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "go_goroutines", "go_info"} {
		if len(families[name].GetMetric()) != 1 {
			t.Errorf("no %s", name)
		}
	}
}

func TestAReaperThatDoesNotAnswerFailsTheScrape(t *testing.T) {
	t.Parallel()
	f := newFake(everything())
	f.err = errors.New("stopping")
	text, err := metrics.NewExporter(f, buildinfo.Info{}).Text(t.Context())
	if !errors.Is(err, f.err) || !bytes.Equal(text, nil) {
		t.Errorf("%q, %v", text, err)
	}
}
