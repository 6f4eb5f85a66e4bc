// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/test/prometheus"
)

// TestRulesAndDashboardShowWhatRealReapersDo runs a Prometheus that scrapes the reapers of five nodes, with leaked,
// destroyed, observed and spared sockets and with other failures. The shipped rules and dashboard must show them.
func TestRulesAndDashboardShowWhatRealReapersDo(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	t.Run("every node except the one without a reaper is up", f.targets)
	t.Run("every recording rule has data", f.recorded)
	t.Run("exactly the alerts of the broken nodes are active", f.alerts)
	t.Run("every metric and label in a rule exists", f.ruleNames)
	t.Run("every panel's queries return data", f.panels)
	t.Run("every variable has values", f.variables)
	t.Run("annotation queries return data", f.marks)
}

func (f *fleet) targets(t *testing.T) {
	want := map[string]float64{"node-1": 1, "node-2": 1, "node-3": 1, "node-4": 1, "node-5": 0}
	var got map[string]float64
	f.until(t, "every target is in the expected state", func() bool {
		got = make(map[string]float64)
		up, err := f.prometheus.Query(`up{job="halfclose"}`, false)
		for _, s := range up {
			got[s.Labels["instance"]] = s.Value
		}
		return err == nil && maps.Equal(want, got)
	})
}

func (f *fleet) recorded(t *testing.T) {
	n := 0
	for _, r := range f.prometheus.Rules(t) {
		if r.Type == "recording" {
			n++
			f.until(t, r.Name+" has data", func() bool {
				samples, err := f.prometheus.Query(r.Name, false)
				return err == nil && len(samples) > 0
			})
		}
	}
	if n == 0 {
		t.Error("no recording rules")
	}
}

// alerts expects no alert that needs hours, or a failure that this test does not cause.
func (f *fleet) alerts(t *testing.T) {
	want := map[string]map[string]string{ // by alert: the state of it by node
		"HalfcloseLeakGrowing": {}, "HalfcloseManySockets": {}, "HalfcloseReapersAbsent": {}, "HalfcloseObserving": {}, "HalfcloseFinderFellBack": {},
		"HalfcloseDestroysLate": {}, "HalfcloseUnreachableNetns": {}, "HalfclosePeersNotAsked": {},
		"HalfcloseUnregisteredNetns": {}, "HalfclosePolicyFileWrong": {}, "HalfcloseUnwritable": {},
		"HalfcloseDescriptorsHeld": {}, "HalfcloseNearFileLimit": {}, "HalfcloseHistoryLost": {}, "HalfcloseSwitchForgotten": {},
		"HalfcloseDestroysQueued":   {"node-1": "pending"},
		"HalfcloseRecordProblems":   {"node-1": "pending"},
		"HalfcloseDestroyErrors":    {"node-2": "pending"},
		"HalfcloseCannotDestroy":    {"node-3": "pending"},
		"HalfcloseSwitchUnreadable": {"node-3": "pending"},
		"HalfcloseSweepingLate":     {"node-3": "pending"},
		"HalfcloseAttachmentsInert": {"node-4": "pending"},
		"HalfcloseReaperRestarting": {"node-4": "firing"},
		"HalfcloseReaperDown":       {"node-5": "pending"},
	}
	diff := ""
	defer func() {
		if t.Failed() {
			t.Logf("alerts by node (-want +got)\n%s", diff)
		}
	}()
	f.until(t, "the alerts are as expected", func() bool {
		got := make(map[string]map[string]string)
		for _, r := range f.prometheus.Rules(t) {
			if r.Health != "ok" && r.Health != "unknown" {
				t.Fatalf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.Type != "alerting" {
				continue
			}
			got[r.Name] = make(map[string]string)
			for _, a := range r.Alerts {
				got[r.Name][a.Labels["instance"]] = a.State
			}
		}
		diff = cmp.Diff(want, got)
		return diff == ""
	})
}

// metric matches a metric in an expression, with its label matchers.
var metric = regexp.MustCompile(`\b((?:instance(?:_state)?:)?(?:halfclose|process|kube)_[a-z0-9_]+(?::[a-z0-9_]+)?|up|ALERTS)\b(?:\{([^}]*)\})?`)

// names checks that every metric and label in an expression exists.
func (f *fleet) names(t *testing.T, expr string) {
	t.Helper()
	found := metric.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("no metric in %s", expr)
	}
	all := map[string]bool{}
	for _, m := range found {
		labels := f.prometheus.Labels(t, m[1])
		if len(labels) == 0 {
			t.Errorf("metric %s of %s does not exist", m[1], expr)
		}
		maps.Copy(all, labels)
		for _, l := range regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`).FindAllStringSubmatch(m[2], -1) {
			if !labels[l[1]] {
				t.Errorf("%s has no label %s, of %s", m[1], l[1], expr)
			}
		}
	}
	for _, by := range regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(by[1], ", ") {
			if !all[l] {
				t.Errorf("no metric has the label %s of %s", l, expr)
			}
		}
	}
}

func (f *fleet) ruleNames(t *testing.T) {
	for _, r := range f.prometheus.Rules(t) {
		f.names(t, r.Query)
	}
}

// substitute replaces the variables as Grafana does, with a scrape and a point every second.
func substitute(d dashboard, expr string) string {
	pairs := []string{"$__rate_interval", "5s", "$__range", "30s"}
	for _, v := range d.Templating.List {
		value := v.AllValue
		if v.Name == "job" {
			value = "halfclose"
		}
		pairs = append(pairs, "$"+v.Name, value)
	}
	return strings.NewReplacer(pairs...).Replace(expr)
}

// panels expects a value above zero in every panel.
func (f *fleet) panels(t *testing.T) {
	zero := map[string]bool{ // which may be zero
		"Missed events, by node": true, "Unreachable network namespaces, by node": true, "Starts without saved ages, by node": true,
		"Would be asked, by node": true, "Stale look-ups, by node": true, "Unregistered network namespaces, by node": true,
		"Attachments by adoption, by node": true, "Policy file mistakes, by node": true, "Switches in force, by scope": true,
		"Descriptors of ended sockets, by node": true, "Processes near their limit on open files, by node": true,
		"Unwritable files, by file": true, "Lost lines of the history, by node": true,
	}
	d := readDashboard(t)
	for _, p := range d.graphs() {
		for _, q := range p.Targets {
			expr := substitute(d, q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: unknown variable in %s", p.Title, expr)
				continue
			}
			var samples []prometheus.Sample
			f.until(t, fmt.Sprintf("%s has a value for %s", p.Title, expr), func() (ok bool) {
				var err error
				samples, err = f.prometheus.Query(expr, q.Range)
				return err == nil && slices.ContainsFunc(samples, func(s prometheus.Sample) bool { return s.Value > 0 || zero[p.Title] })
			})
			f.names(t, expr)
			for _, label := range regexp.MustCompile(`\{\{([a-z_]+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
				for _, s := range samples {
					if s.Labels[label[1]] == "" {
						t.Errorf("%s: a series without %s: %v", p.Title, label[1], s.Labels)
					}
				}
			}
		}
	}
}

func (f *fleet) variables(t *testing.T) {
	d := readDashboard(t)
	for _, v := range d.Templating.List {
		if v.Type == "datasource" {
			continue
		}
		parts := regexp.MustCompile(`^label_values\((.+), ([a-z]+)\)$`).FindStringSubmatch(substitute(d, v.Definition))
		if parts == nil {
			t.Errorf("%s: cannot read %s", v.Name, v.Definition)
			continue
		}
		var got []string
		if err := f.prometheus.Get("label/"+parts[2]+"/values", url.Values{"match[]": {parts[1]}}, &got); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		want := map[string][]string{
			"cluster": {cluster}, "job": {"halfclose"}, "instance": {"node-1", "node-2", "node-3", "node-4", "node-5"}, "namespace": {"bank", "shop", "web"},
		}[v.Name]
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has the values %q, want %q", v.Name, got, want)
		}
	}
}

func (f *fleet) marks(t *testing.T) {
	d := readDashboard(t)
	for _, a := range d.Annotations.List {
		expr := substitute(d, a.Expr)
		samples, err := f.prometheus.Query(expr, true)
		if err != nil || len(samples) == 0 {
			t.Errorf("%s: %v, %v", a.Name, samples, err)
		}
		f.names(t, expr)
	}
}
