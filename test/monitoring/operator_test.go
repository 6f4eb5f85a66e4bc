// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/prometheus"
)

// operatorConfig is the configuration that the Prometheus operator generates for the chart's PodMonitor, with the
// discovery of pods replaced by the pods that it would discover: their addresses by node.
func operatorConfig(t *testing.T, pods map[string]string) string {
	t.Helper()
	before, after, ok := strings.Cut(read(t, "operator/prometheus.yaml"), "  kubernetes_sd_configs:\n")
	if !ok {
		t.Fatal("the operator's configuration discovers no pods")
	}
	_, after, _ = strings.Cut(after, "\n  scrape_interval:")
	config := before + "  static_configs:\n"
	for node, address := range pods {
		config += fmt.Sprintf(`  - targets: [%q]
    labels:
      __meta_kubernetes_namespace: kube-system
      __meta_kubernetes_pod_name: halfclose-%[2]s
      __meta_kubernetes_pod_node_name: %[2]s
      __meta_kubernetes_pod_phase: Running
      __meta_kubernetes_pod_container_name: reaper
      __meta_kubernetes_pod_container_port_name: metrics
      __meta_kubernetes_pod_label_app_kubernetes_io_name: halfclose
      __meta_kubernetes_pod_labelpresent_app_kubernetes_io_name: "true"
      __meta_kubernetes_pod_label_app_kubernetes_io_instance: halfclose
      __meta_kubernetes_pod_labelpresent_app_kubernetes_io_instance: "true"
`, address, node)
	}
	return config + "  scrape_interval:" + after
}

// TestRulesFitTheLabelsOfThePrometheusOperator scrapes reapers as the Prometheus operator does for the chart's PodMonitor.
func TestRulesFitTheLabelsOfThePrometheusOperator(t *testing.T) {
	t.Parallel()
	node.Need(t)
	up, down := newMachine(t, "127.0.0.1:20480"), "127.0.0.1:20481" // the latter without a listener
	leak(t, up.add(t, "shop", "cart", `"grace": "1h"`))
	up.start(t)
	p := prometheus.Start(t, "127.0.0.1:9091", operatorConfig(t, map[string]string{"node-a": up.address, "node-b": down}),
		prometheus.OperatorRules, rules+"/halfclose.rules.yaml")

	targets := make(map[string]prometheus.Sample) // the series up by node
	nstest.Eventually(t, soon, "both nodes were scraped", func() bool {
		series, err := p.Query(`up{job="halfclose"}`, false)
		for _, s := range series {
			targets[s.Labels["instance"]] = s
		}
		return err == nil && len(targets) == 2
	})
	if targets["node-a"].Value != 1 || targets["node-b"].Value != 0 || targets["node-a"].Labels["node"] != "node-a" {
		t.Errorf("the targets are %v", targets)
	}
	nstest.Eventually(t, soon, "the namespace of a socket is its pod's, and not the reaper's", func() bool {
		series, err := p.Query(`halfclose_sockets{job="halfclose", instance="node-a", namespace="shop"} > 0`, false)
		return err == nil && len(series) == 2
	})
	nstest.Eventually(t, soon, "the recorded number of sockets is per node", func() bool {
		series, err := p.Query(`instance_state:halfclose_sockets:sum{job="halfclose", instance="node-a"} > 0`, false)
		return err == nil && len(series) == 2
	})
	active := func() (names []string) {
		for _, r := range p.Rules(t) {
			for _, a := range r.Alerts {
				names = append(names, r.Name+" "+a.Labels["instance"])
			}
		}
		return names
	}
	nstest.Eventually(t, soon, "only the alert on the node without a reaper is active", func() bool {
		return slices.Equal(active(), []string{"HalfcloseReaperDown node-b"})
	})

	// The alerts need minutes, which promtool simulates with the labels of the real series.
	prometheus.CheckAlerts(t, rules+"/halfclose.rules.yaml", targets["node-a"].Labels, targets["node-b"].Labels)
}
