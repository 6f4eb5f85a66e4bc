// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/halfclose/halfclose/internal/nstest"
)

// series are samples by name and labels, such as sockets{namespace="shop",state="CLOSE_WAIT"}, without halfclose_.
type series map[string]float64

// read parses a scrape with Prometheus' library.
func read(tb testing.TB, a answer) series {
	tb.Helper()
	if want := "text/plain; version=0.0.4; charset=utf-8"; a.code != http.StatusOK || a.header.Get("Content-Type") != want {
		tb.Fatalf("status %d, content type %q\n%s", a.code, a.header.Get("Content-Type"), a.body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		tb.Fatalf("parse the scrape: %v\n%s", err, a.body)
	}
	s := make(series)
	for name, f := range families {
		name = strings.TrimPrefix(name, "halfclose_")
		for _, m := range f.GetMetric() {
			labels := labelsOf(m)
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				s[name+labels] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				s[name+labels] = m.GetGauge().GetValue()
			case dto.MetricType_SUMMARY: // of the Go runtime
			case dto.MetricType_HISTOGRAM:
				s[name+"_count"+labels], s[name+"_sum"+labels] = float64(m.GetHistogram().GetSampleCount()), m.GetHistogram().GetSampleSum()
			default:
				tb.Errorf("%s is of type %v", name, f.GetType())
			}
		}
	}
	return s
}

func labelsOf(m *dto.Metric) string {
	var list []string
	for _, l := range m.GetLabel() {
		list = append(list, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(list) == 0 {
		return ""
	}
	return "{" + strings.Join(list, ",") + "}"
}

// take removes a sample whose value depends on time, and checks its bounds.
func (s series) take(tb testing.TB, name string, from, to float64) {
	tb.Helper()
	v, ok := s[name]
	if !ok || v < from || v > to {
		tb.Errorf("%s is %v (%v), want it from %v to %v", name, v, ok, from, to)
	}
	delete(s, name)
}

// metrics scrapes the unix socket.
func (n *node) metrics() series {
	n.tb.Helper()
	return read(n.tb, n.get("/metrics"))
}

// await waits until a sample has a value.
func (n *node) await(name string, want float64) {
	n.tb.Helper()
	var got series
	defer func() {
		if n.tb.Failed() {
			n.tb.Logf("the last scrape: %v", got)
		}
	}()
	nstest.Eventually(n.tb, patience, fmt.Sprintf("%s is %v", name, want), func() bool {
		got = n.metrics()
		v, ok := got[name]
		return ok && v == want
	})
}

// awaitSockets waits until all namespaces together have that many half-closed sockets in a state.
func (n *node) awaitSockets(state string, want float64) {
	n.tb.Helper()
	got := 0.0
	defer func() {
		if n.tb.Failed() {
			n.tb.Logf("%v sockets in the last scrape", got)
		}
	}()
	nstest.Eventually(n.tb, patience, fmt.Sprintf("%v sockets are in %s", want, state), func() bool {
		got = 0
		for name, v := range n.metrics() {
			if strings.HasPrefix(name, "sockets{") && strings.HasSuffix(name, `,state="`+state+`"}`) {
				got += v
			}
		}
		return got == want
	})
}
