// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// soon bounds a wait for an event that takes seconds on an idle machine.
const soon = 60 * time.Second

// scrapes is the interval of scrapes and of rule evaluations.
const scrapes = time.Second

// server is a Prometheus.
type server struct{ url string }

// cluster is the label of the targets in shippedConfig.
const cluster = "east"

// shippedConfig returns the shipped configuration with more targets, the addresses of reapers by node, and with a label for
// their cluster.
func shippedConfig(t *testing.T, targets map[string]string) string {
	t.Helper()
	config := edit(t, read(t, rules+"/prometheus.yaml"), map[string]string{"instance: node-1": "instance: node-1\n          cluster: " + cluster})
	for name, address := range targets {
		config += fmt.Sprintf("      - targets: [%q]\n        labels: {instance: %s, cluster: %s}\n", address, name, cluster)
	}
	return config
}

// edit replaces each of some texts, which must occur once.
func edit(t *testing.T, config string, texts map[string]string) string {
	t.Helper()
	for old, now := range texts {
		if strings.Count(config, old) != 1 {
			t.Fatalf("%q is in the configuration %d times, not once:\n%s", old, strings.Count(config, old), config)
		}
		config = strings.Replace(config, old, now, 1)
	}
	return config
}

// startPrometheus starts a server on an address with a configuration and the shipped rules. It scrapes and evaluates more often
// than each 30 s.
func startPrometheus(t *testing.T, address, config, ruleFile string) *server {
	t.Helper()
	program := need(t, "prometheus")
	file, err := filepath.Abs(rules + "/halfclose.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config = edit(t, config, map[string]string{"- " + ruleFile: "- " + file})
	config = strings.ReplaceAll(config, "_interval: 30s", "_interval: "+scrapes.String())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() && log.Len() > 0 {
			t.Logf("prometheus says:\n%s", log.String())
		}
	})
	s := &server{"http://" + address}
	nstest.Eventually(t, soon, "prometheus is ready", func() bool {
		resp, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// get sends a request to the API, and decodes the field data of the answer.
func (s *server) get(path string, query url.Values, data any) error {
	resp, err := http.Get(s.url + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%s %v: %s: %s (%w)", path, query, resp.Status, answer.Error, err)
	}
	return json.Unmarshal(answer.Data, data)
}

// sample is one series of an answer, with its highest value except NaN.
type sample struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression now, or at every second of the last 30 s.
func (s *server) query(expr string, overTime bool) ([]sample, error) {
	now := time.Now()
	path, query := "query", url.Values{"query": {expr}, "time": {timestamp(now)}}
	if overTime {
		path, query = "query_range", url.Values{
			"query": {expr}, "start": {timestamp(now.Add(-30 * time.Second))}, "end": {timestamp(now)}, "step": {"1"},
		}
	}
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
			Values [][2]any
		}
	}
	if err := s.get(path, query, &answer); err != nil {
		return nil, err
	}
	var all []sample
	for _, r := range answer.Result {
		one := sample{labels: r.Metric, value: math.Inf(-1)}
		for _, v := range append(r.Values, r.Value) {
			text, _ := v[1].(string) // none in the one of the two that there is not
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
				one.value = max(one.value, f)
			}
		}
		if !math.IsInf(one.value, -1) {
			all = append(all, one)
		}
	}
	return all, nil
}

func timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// labels returns the label names of a metric.
func (s *server) labels(t *testing.T, metric string) map[string]bool {
	t.Helper()
	var names []string
	if err := s.get("labels", url.Values{"match[]": {metric}}, &names); err != nil {
		t.Fatal(err)
	}
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// rule is a rule of the server.
type rule struct {
	Name, Query, Type, Health, LastError, State string
	Alerts                                      []struct {
		State  string
		Labels map[string]string
	}
}

// rules returns all rules.
func (s *server) rules(t *testing.T) (all []rule) {
	t.Helper()
	var answer struct{ Groups []struct{ Rules []rule } }
	if err := s.get("rules", nil, &answer); err != nil {
		t.Fatal(err)
	}
	for _, g := range answer.Groups {
		all = append(all, g.Rules...)
	}
	return all
}
