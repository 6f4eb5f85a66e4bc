// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

var update = flag.Bool("update", false, "write what the tests get to testdata, for you to look at the difference")

// everything is figures that have something of each.
func everything() metrics.Figures {
	const ms = time.Millisecond
	return metrics.Figures{
		Build: buildinfo.Info{Version: "v1.2.3", Commit: "0123abc", Go: "go1.26.0", Platform: "linux/amd64"},
		Process: metrics.Process{
			CPU: 12340 * ms, Resident: 23 << 20, OpenFDs: 17, Started: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		},
		Reaper: reaper.Metrics{
			Finder: "sockdiag", Mode: policy.Observe, Attachments: 5, Inert: 2, Namespaces: 4, RecordProblems: 3, Unreachable: 1, AgesLost: 1,
			Candidates: map[inetdiag.State]int{inetdiag.CloseWait: 120, inetdiag.FinWait2: 7},
			Oldest:     map[inetdiag.State]time.Duration{inetdiag.CloseWait: 26 * time.Hour, inetdiag.FinWait2: 1500 * ms},
			Destroyed: map[reaper.CountKey]uint64{
				{State: inetdiag.FinWait2, Namespace: "shop"}:  2,
				{State: inetdiag.CloseWait, Namespace: "shop"}: 1 << 60,
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
			LooksTooOld:   15,
			SparedNow:     map[policy.Reason]int{policy.WithinGrace: 13, policy.PeerAlive: 5, policy.Destroyable: 1, policy.MPTCP: 0},
			Gone:          4,
			Spared:        map[policy.Reason]uint64{policy.WithinGrace: 130, policy.UnreadData: 11, policy.Exempted: 0},
			DestroyErrors: map[string]uint64{"EPERM": 6, "EOPNOTSUPP": 0},
			Lateness: reaper.Histogram{
				Bounds: []time.Duration{5 * ms, 2500 * ms, time.Minute}, Counts: []uint64{3, 0, 2, 1}, Sum: 101250 * ms,
			},
			BudgetWaiting: 40,
			SweepDuration: reaper.Histogram{Bounds: []time.Duration{100 * time.Microsecond}, Counts: []uint64{8, 0}, Sum: 640 * time.Microsecond},
			SweepCPU:      3210 * ms, SweepLate: 90 * time.Second, EventsMissed: 10,
			Warnings: map[string]uint64{"records": 2, "switch": 0},
		},
	}
}

// parse reads an exposition as Prometheus' library does.
func parse(tb testing.TB, text []byte) map[string]*dto.MetricFamily {
	tb.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		tb.Fatalf("it does not parse: %v\n%s", err, text)
	}
	return families
}

func TestTheWholeExposition(t *testing.T) {
	f := everything()
	got := f.Append(nil)
	const path = "testdata/everything.prom"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("not as in %s; if it should be, run the test with -update (-want +got)\n%s", path, diff)
	}
}

func TestItIsWrittenInTheSameOrderEachTime(t *testing.T) {
	f := everything()
	first := f.Append(nil)
	for range 20 {
		if again := f.Append(nil); !bytes.Equal(first, again) {
			t.Fatalf("written in another order (-first +again)\n%s", cmp.Diff(string(first), string(again)))
		}
	}
}

func TestTheLinterHasNothingToSay(t *testing.T) {
	f := everything()
	problems, err := promlint.New(bytes.NewReader(f.Append(nil))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestTheLinterWouldHaveSomethingToSay(t *testing.T) {
	f := everything()
	text := bytes.ReplaceAll(f.Append(nil), []byte("halfclose_gone_total"), []byte("halfclose_gone"))
	if problems, err := promlint.New(bytes.NewReader(text)).Lint(); err != nil || len(problems) != 1 {
		t.Errorf("a counter without _total: %v %v", problems, err)
	}
}

func TestAHistogramIsReadAsItWasCounted(t *testing.T) {
	f := everything()
	h := parse(t, f.Append(nil))["halfclose_destroy_lateness_seconds"].GetMetric()[0].GetHistogram()
	got := make(map[float64]uint64)
	for _, b := range h.GetBucket() {
		got[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	delete(got, h.GetBucket()[len(h.GetBucket())-1].GetUpperBound()) // that of all
	if diff := cmp.Diff(map[float64]uint64{0.005: 3, 2.5: 3, 60: 5}, got); diff != "" {
		t.Errorf("buckets (-want +got)\n%s", diff)
	}
	if h.GetSampleCount() != 6 || h.GetSampleSum() != 101.25 {
		t.Errorf("%d samples, %v in all", h.GetSampleCount(), h.GetSampleSum())
	}
}

func TestNothingCountedYetIsExposedToo(t *testing.T) {
	var f metrics.Figures
	if families := parse(t, f.Append(nil)); families["halfclose_namespaces"].GetMetric()[0].GetGauge().GetValue() != 0 {
		t.Errorf("%v", families)
	}
}
