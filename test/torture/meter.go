// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/trend"
	"github.com/halfclose/halfclose/test/torture/verdict"
)

// meter samples what a reaper uses, for the soak.
type meter struct {
	pid    int
	start  model.Time
	series map[string]*trend.Series
	err    error
	ran    time.Duration // until it was stopped
	done   chan struct{}
}

// measured lists the figures in the order in which they are printed, with the least rise that counts.
func measured() []trend.Series {
	return []trend.Series{
		{Name: "RSS", Unit: "MiB", Least: 2},
		{Name: "heap goal", Unit: "MiB", Least: 2}, // of the garbage collector: twice the live heap
		{Name: "descriptors", Least: 3},
		{Name: "goroutines", Least: 3},
		{Name: "threads", Least: 3},
		{Name: "state files", Least: 10},
	}
}

// startMeter samples the reaper's process until ctx is done.
func startMeter(ctx context.Context, pid int, every time.Duration) *meter {
	m := &meter{pid: pid, start: model.Now(), series: make(map[string]*trend.Series), done: make(chan struct{})}
	for _, s := range measured() {
		m.series[s.Name] = &s
	}
	go func() {
		defer close(m.done)
		defer func() { m.ran = model.Now() - m.start }()
		for ctx.Err() == nil && m.err == nil {
			if err := m.sample(ctx); err != nil && ctx.Err() == nil {
				m.err = fmt.Errorf("sample the reaper: %w", err)
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
			}
		}
	}()
	return m
}

// sample takes one sample of each figure.
func (m *meter) sample(ctx context.Context) error {
	at := model.Now() - m.start
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if err != nil {
		return fmt.Errorf("it has been replaced: %w", err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.pid))
	if err != nil {
		return err
	}
	metrics, err := scrape(ctx)
	if err != nil {
		return err
	}
	files := 0
	for _, dir := range []string{stateDir, varDir} {
		_ = filepath.WalkDir(dir, func(string, os.DirEntry, error) error { files++; return nil }) // a file may be gone by now
	}
	for name, value := range map[string]float64{
		"RSS": field(status, "VmRSS:") / 1024, "threads": field(status, "Threads:"), "descriptors": float64(len(fds)), "state files": float64(files),
		"goroutines": field(metrics, "go_goroutines"), "heap goal": field(metrics, "go_memstats_next_gc_bytes") / (1 << 20),
	} {
		m.series[name].Add(at, value)
	}
	return nil
}

// field returns the number after a word at the start of a line, 0 if there is none.
func field(text []byte, name string) float64 {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) >= 2 && f[0] == name {
			v, _ := strconv.ParseFloat(f[1], 64)
			return v
		}
	}
	return 0
}

// scrape reads the reaper's metrics.
func scrape(ctx context.Context) ([]byte, error) {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(stateDir, "reaper.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://reaper/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.Bytes(), err
}

// steadyPart is the part of a run in which the load is steady: after the first namespaces have been replaced, until the last ones
// end.
func steadyPart(duration time.Duration) (from, to time.Duration) {
	return duration / 4, duration - min(15*time.Second, duration/8)
}

// judge prints the curves, and returns the number of figures that rise.
func (m *meter) judge(report *verdict.Report, stalled func(from, to model.Time) time.Duration) (faults int) {
	late := trend.Series{Name: "lateness", Unit: "ms", Least: 100}
	for _, e := range report.Ends {
		// The time for which the machine ran no thread that was ready is not the reaper's.
		own := max(e.To-e.Due-stalled(e.Due, e.To), 0)
		late.Add(e.To-m.start, float64(own)/float64(time.Millisecond))
	}
	all := measured()
	for i := range all {
		all[i] = *m.series[all[i].Name]
	}
	from, to := steadyPart(m.ran)
	for _, s := range append(all, late) {
		part := s.Between(from, to)
		fmt.Println("soak:", part.String())
		if part.IsRising() {
			faults++
		}
	}
	return faults
}
