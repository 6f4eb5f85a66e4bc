// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command operator writes the configuration that the Prometheus operator generates for a PodMonitor: it reads the PodMonitor
// from stdin, and writes prometheus.yaml to stdout.
//
// It is a module of its own, because the operator's generator depends on 600 packages, which take minutes to build.
// scripts/operator-config.sh runs it; the tests use the files that it writes.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	"github.com/prometheus-operator/prometheus-operator/pkg/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// version is that of Debian 12's Prometheus, which runs the configuration in the tests.
const version = "v2.42.0"

func main() {
	if err := generate(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func generate(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	monitor := new(monitoringv1.PodMonitor)
	if err := yaml.UnmarshalStrict(text, monitor); err != nil {
		return fmt.Errorf("read the PodMonitor: %w", err)
	}
	server := &monitoringv1.Prometheus{
		ObjectMeta: metav1.ObjectMeta{Name: "k8s", Namespace: "monitoring"},
		Spec: monitoringv1.PrometheusSpec{
			CommonPrometheusFields: monitoringv1.CommonPrometheusFields{
				Version: version, ScrapeInterval: "30s", ReplicaExternalLabelName: new(string),
			},
			EvaluationInterval: "30s",
			RuleSelector:       new(metav1.LabelSelector),
		},
	}
	generator, err := prometheus.NewConfigGenerator(nil, server)
	if err != nil {
		return err
	}
	config, err := generator.GenerateServerConfiguration(server, nil,
		map[string]*monitoringv1.PodMonitor{monitor.Namespace + "/" + monitor.Name: monitor},
		nil, nil, assets.NewTestStoreBuilder(), nil, nil, nil, []string{"halfclose"})
	if err != nil {
		return fmt.Errorf("generate the configuration: %w", err)
	}
	// The operator's config-reloader replaces this variable in the pod of a Prometheus.
	config = bytes.ReplaceAll(config, []byte("$(SHARD)"), []byte("0"))
	_, err = fmt.Fprintf(out, "# Generated from podmonitor.yaml by scripts/operator-config.sh.\n%s", config)
	return err
}
