// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestASocketThatClosesFirstIsCountedAsGone closes due sockets just before the mode allows to destroy them.
func TestASocketThatClosesFirstIsCountedAsGone(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	n := newNode(t)
	n.register(ns, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Second, time.Hour))
	turn := func(m policy.Mode) {
		if _, err := n.SetMode(t.Context(), api.ModeRequest{Mode: m, Who: "the test"}); err != nil {
			t.Fatal(err)
		}
	}
	would, gone := 0.0, 0.0
	nstest.Eventually(t, patience, "one is counted", func() bool { // a sweep may be the first to miss them
		turn(policy.Observe)
		var pairs []nstest.Pair
		for range 10 {
			pairs = append(pairs, shut(t, ns))
			would++
		}
		n.await(`would_destroy_total{namespace="shop",state="CLOSE_WAIT"}`, would)
		for _, p := range pairs {
			_ = p.Server.SetLinger(0)
			p.Server.Close()
		}
		turn(policy.Destroy)
		n.awaitSockets("CLOSE_WAIT", 0)
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone = float64(s.Counts.Gone)
		return gone > 0
	})
	if m := n.metrics(); gone > would || m[`destroyed_total{namespace="shop",state="CLOSE_WAIT"}`] != 0 || m[`destroy_errors_total{errno="EPERM"}`] != 0 {
		t.Errorf("of %v closed sockets: %v", would, m)
	}
}

// TestARefusedDestroyIsCountedByItsErrno has a reaper without the privilege to destroy.
func TestARefusedDestroyIsCountedByItsErrno(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	n := disarmedNode(t)
	n.register(ns, state.Pod{}, grace(time.Second, time.Hour))
	p := shut(t, ns)
	n.await(`destroy_errors_total{errno="EPERM"}`, 1)
	if m := n.metrics(); m[`destroyed_total{namespace="",state="CLOSE_WAIT"}`] != 0 || m["destroy_lateness_seconds_count"] != 0 {
		t.Errorf("it destroys: %v", m)
	}
	if _, err := p.Server.Write([]byte("x")); err != nil {
		t.Errorf("the socket is closed: %v", err)
	}
}

func TestQueuedDestroysAreCounted(t *testing.T) {
	t.Parallel()
	const leaks = 5
	ns := nstest.New(t)
	n := newNode(t, func(c *reaper.Config) { c.MaxDestroysPerSecond = 1 })
	n.register(ns, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Second, time.Hour))
	for range leaks {
		shut(t, ns)
	}
	most := 0.0
	nstest.Eventually(t, patience, "all are destroyed", func() bool {
		m := n.metrics()
		most = max(most, m["destroys_queued"])
		return m[`destroyed_total{namespace="shop",state="CLOSE_WAIT"}`] == leaks
	})
	if most < 1 || most > leaks {
		t.Errorf("at most %v were queued", most)
	}
	n.await("destroys_queued", 0)
}

// newLate returns a finder that sweeps all network namespaces of each set at once, 90 s late.
func newLate() *finder.Fake {
	return finder.NewFake("late", func(set []finder.Netns, sink finder.Sink) {
		sweep := finder.Sweep{Finder: "late", Began: monotime.Fake{}.Now(), Late: 90 * time.Second, Duration: 250 * time.Millisecond}
		for _, n := range set {
			sweep.Netns = append(sweep.Netns, n.Identity)
		}
		sink.Cost(finder.Cost{CPU: 125 * time.Millisecond})
		if len(set) > 0 {
			sink.Swept(sweep)
		}
	})
}

func TestALateFinderIsReported(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	n := newNode(t, func(c *reaper.Config) { c.Finder = newLate() })
	n.register(ns, state.Pod{}, grace(time.Second, time.Second))
	n.await("sweep_lag_seconds", 90)
	n.await(`warnings_total{kind="sweeping"}`, 1)
	m := n.metrics()
	for name, want := range map[string]float64{
		`finder_info{finder="late"}`: 1, `sweep_duration_seconds_count{finder="late"}`: 1, `sweep_duration_seconds_sum{finder="late"}`: 0.25,
		"sweep_cpu_seconds_total": 0.125,
	} {
		if m[name] != want {
			t.Errorf("%s is %v, not %v", name, m[name], want)
		}
	}
}

func TestTheModeAndItsWarnings(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *reaper.Config) { c.Kernel = func() error { return inetdiag.ErrUnsupported } })
	n.await(`mode{mode="observe"}`, 1)
	n.await(`warnings_total{kind="sock-destroy"}`, 1)

	n = newNode(t)
	n.await(`mode{mode="destroy"}`, 1)
	if _, err := n.SetMode(t.Context(), api.ModeRequest{Mode: policy.Observe, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	m := n.metrics()
	if m[`mode{mode="destroy"}`] != 0 || m[`mode{mode="observe"}`] != 1 || m[`mode{mode="off"}`] != 0 {
		t.Errorf("after the switch was set: %v", m)
	}
	if err := os.WriteFile(n.sw, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.await(`warnings_total{kind="switch"}`, 1)
	n.await(`mode{mode="observe"}`, 1)
}

// TestLatenessHasABucketForEachTarget checks the bounds that the documentation promises.
func TestLatenessHasABucketForEachTarget(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(n.get("/metrics").body))
	if err != nil {
		t.Fatal(err)
	}
	bounds := make(map[float64]bool)
	for _, b := range families["halfclose_destroy_lateness_seconds"].GetMetric()[0].GetHistogram().GetBucket() {
		bounds[b.GetUpperBound()] = true
	}
	for _, promised := range []float64{0.05, 1, 15, 60, math.Inf(1)} {
		if !bounds[promised] {
			t.Errorf("no bucket has the bound %v s", promised)
		}
	}
}

func TestAReaperThatCanEnterNoNetworkNamespaceIsAliveAndNotHealthy(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *reaper.Config) {
		c.Trials = reaper.Trials{
			Enter:     func() error { return unix.EPERM },
			Processes: func(context.Context) (owners.Access, error) { return owners.Access{}, nil },
		}
	})
	n.register(nstest.New(t), state.Pod{Namespace: "shop", Name: "web"}, grace(time.Hour, time.Hour))
	n.await(`mode{mode="observe"}`, 1)
	n.await("unreachable_netns", 1)
	n.await(`warnings_total{kind="netns"}`, 1)
	for path, want := range map[string]int{"/healthz": http.StatusServiceUnavailable, "/livez": http.StatusOK} {
		if a := n.get(path); a.code != want {
			t.Errorf("%s is answered with %d, not %d: %s", path, a.code, want, a.body)
		}
	}
	if a := n.getTCP("/healthz"); a.code != http.StatusServiceUnavailable || !strings.Contains(a.body, "CAP_SYS_ADMIN") {
		t.Errorf("over TCP /healthz is answered with %d: %s", a.code, a.body)
	}
}
