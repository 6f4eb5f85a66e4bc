// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package prometheus runs a real Prometheus in tests, with Debian's package.
package prometheus

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

// soon bounds the wait for its start, which takes seconds on an idle machine.
const soon = 60 * time.Second

// Interval is the interval of scrapes and of rule evaluations.
const Interval = time.Second

// Server is a Prometheus.
type Server struct{ url string }

// Need returns the path of a program of Debian's package prometheus. Without it the test is skipped, or fails where CI is
// set.
func Need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		nstest.Skip(t, fmt.Sprintf("%v: run scripts/deps.sh prometheus", err))
	}
	return path
}

// Edit replaces each of some texts, which must occur once.
func Edit(t *testing.T, config string, texts map[string]string) string {
	t.Helper()
	for old, now := range texts {
		if strings.Count(config, old) != 1 {
			t.Fatalf("%q is in the configuration %d times, not once:\n%s", old, strings.Count(config, old), config)
		}
		config = strings.Replace(config, old, now, 1)
	}
	return config
}

// Start starts a server on an address with a configuration, in which ruleFile is replaced by the rules. It scrapes and evaluates
// more often than each 30 s.
func Start(t *testing.T, address, config, ruleFile, rules string) *Server {
	t.Helper()
	program := Need(t, "prometheus")
	rules, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	config = Edit(t, config, map[string]string{"- " + ruleFile: "- " + rules})
	config = strings.ReplaceAll(config, "_interval: 30s", "_interval: "+Interval.String())
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
	s := &Server{"http://" + address}
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

// Get sends a request to the API, and decodes the field data of the answer.
func (s *Server) Get(path string, query url.Values, data any) error {
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

// Sample is one series of an answer, with its highest value except NaN.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression now, or at every second of the last 30 s.
func (s *Server) Query(expr string, overTime bool) ([]Sample, error) {
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
	if err := s.Get(path, query, &answer); err != nil {
		return nil, err
	}
	var all []Sample
	for _, r := range answer.Result {
		one := Sample{Labels: r.Metric, Value: math.Inf(-1)}
		for _, v := range append(r.Values, r.Value) {
			text, _ := v[1].(string) // none in the one of the two that there is not
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
				one.Value = max(one.Value, f)
			}
		}
		if !math.IsInf(one.Value, -1) {
			all = append(all, one)
		}
	}
	return all, nil
}

func timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Labels returns the label names of a metric.
func (s *Server) Labels(t *testing.T, metric string) map[string]bool {
	t.Helper()
	var names []string
	if err := s.Get("labels", url.Values{"match[]": {metric}}, &names); err != nil {
		t.Fatal(err)
	}
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// Rule is a rule of the server.
type Rule struct {
	Name, Query, Type, Health, LastError, State string
	Alerts                                      []struct {
		State  string
		Labels map[string]string
	}
}

// Rules returns all rules.
func (s *Server) Rules(t *testing.T) (all []Rule) {
	t.Helper()
	var answer struct{ Groups []struct{ Rules []Rule } }
	if err := s.Get("rules", nil, &answer); err != nil {
		t.Fatal(err)
	}
	for _, g := range answer.Groups {
		all = append(all, g.Rules...)
	}
	return all
}
