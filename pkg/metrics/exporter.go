// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// Reaper has the metrics that an Exporter exposes; *reaper.Reaper implements it.
type Reaper interface {
	Metrics(ctx context.Context) (reaper.Metrics, error)
	Histograms() prometheus.Collector
}

// Exporter exposes the metrics of one reaper and of this process. Its method may be called concurrently.
type Exporter struct {
	reaper Reaper
	build  buildinfo.Info
	// gatherer has every collector that needs no answer of the reaper's loop.
	gatherer prometheus.Gatherer
}

// NewExporter returns an Exporter of a reaper of this build.
func NewExporter(r Reaper, build buildinfo.Info) *Exporter {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		r.Histograms(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return &Exporter{reaper: r, build: build, gatherer: registry}
}

// Text returns the current metrics. It asks the reaper's loop for one snapshot; its error is that of the snapshot if the
// loop does not answer before ctx is done.
func (e *Exporter) Text(ctx context.Context) ([]byte, error) {
	m, err := e.reaper.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(&snapshot{build: e.build, reaper: &m}); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	families, err := prometheus.Gatherers{e.gatherer, registry}.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return nil, fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return text.Bytes(), nil
}
