// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/prometheus"
)

// prometheus scrapes the DaemonSet with a real Prometheus, which has the configuration that the Prometheus operator generates
// for the chart's PodMonitor, gets the pods of the API server as targets, and evaluates the chart's PrometheusRule.
func (s *story) prometheus(t *testing.T) {
	for _, kind := range []string{"podmonitors", "prometheusrules"} {
		kubectl(t, "apply", "--server-side", "-f", need(t, "operator")+"/monitoring.coreos.com_"+kind+".yaml")
		nstest.Eventually(t, slow, "the API server serves "+kind, func() bool { // kubectl wait fails before there is a condition
			_, err := tryKubectl(t, "get", kind+".monitoring.coreos.com", "--all-namespaces")
			return err == nil
		})
	}
	deploy(t, "mode=destroy", "metrics.podMonitor.enabled=true", "metrics.prometheusRule.enabled=true", "metrics.dashboard.enabled=true")
	p, rules := startPrometheus(t)

	targets := make(map[string]prometheus.Sample) // the series up by node
	nstest.Eventually(t, slow, "every node's reaper is up, and nothing else", func() bool {
		clear(targets)
		up, err := p.Query(`up{job="halfclose"}`, false)
		for _, u := range up {
			targets[u.Labels["instance"]] = u
		}
		return err == nil && len(up) == len(nodes()) && slices.Equal(slices.Sorted(maps.Keys(targets)), nodes()) &&
			targets[worker].Value == 1 && targets[controlPlane].Value == 1
	})
	if l := targets[worker].Labels; l["node"] != worker || l["namespace"] != namespace || l["pod"] != reaperPod(t, worker) {
		t.Errorf("the worker's target has the labels %v", l)
	}
	for _, expr := range []string{ // the twin runs on the worker
		fmt.Sprintf(`halfclose_sockets{job="halfclose", instance=%q, namespace="default", state="FIN_WAIT2"} >= 1`, worker),
		fmt.Sprintf(`instance_state:halfclose_sockets:sum{job="halfclose", instance=%q, state="FIN_WAIT2"} >= 1`, worker),
		`halfclose_mode{job="halfclose", mode="destroy"} == 1`,
	} {
		nstest.Eventually(t, slow, expr+" has a value", func() bool {
			series, err := p.Query(expr, false)
			return err == nil && len(series) > 0
		})
	}
	active := func() (names []string) {
		for _, r := range p.Rules(t) {
			if r.Health == "err" {
				t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			for _, a := range r.Alerts {
				if r.Name == "HalfcloseReaperDown" || r.Name == "HalfcloseReapersAbsent" {
					names = append(names, r.Name+" "+a.Labels["instance"])
				}
			}
		}
		return names
	}
	if got := active(); len(got) > 0 {
		t.Errorf("with every reaper up these alerts are active: %q", got)
	}

	pid := status(t, worker).Holder.PID
	t.Cleanup(func() { onNode(t, worker, fmt.Sprintf("kill -CONT %d || true", pid)) })
	onNode(t, worker, fmt.Sprintf("kill -STOP %d", pid))
	nstest.Eventually(t, slow, "the alert on the stopped reaper is active, and no other", func() bool {
		return slices.Equal(active(), []string{"HalfcloseReaperDown " + worker})
	})
	onNode(t, worker, fmt.Sprintf("kill -CONT %d", pid))
	nstest.Eventually(t, slow, "the alert is gone", func() bool { return len(active()) == 0 })

	prometheus.CheckAlerts(t, rules, targets[controlPlane].Labels, targets[worker].Labels)
}

// startPrometheus starts a Prometheus beside the cluster, as kubectl is, and returns the file of its rules too.
func startPrometheus(t *testing.T) (server *prometheus.Server, rules string) {
	t.Helper()
	var rule struct{ Spec json.RawMessage }
	getInto(t, &rule, "prometheusrule", release, "--namespace", namespace)
	rules = filepath.Join(t.TempDir(), "rules.yaml") // JSON is YAML
	if err := os.WriteFile(rules, rule.Spec, 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(top + "/test/monitoring/operator/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const discovery = "  kubernetes_sd_configs:\n  - role: pod\n    namespaces:\n      names:\n      - " + namespace + "\n"
	withTargets := prometheus.Edit(t, string(config), map[string]string{discovery: "  static_configs: " + discoverTargets(t) + "\n"})
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return prometheus.Start(t, address, withTargets, prometheus.OperatorRules, rules), rules
}

// discoverTargets returns, as JSON, the targets that Prometheus discovers for the pods of halfclose's namespace: each port of each
// container, with the labels that the operator's configuration reads. Debian's Prometheus is built without this discovery.
func discoverTargets(t *testing.T) string {
	t.Helper()
	var pods struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Spec struct {
				NodeName   string
				Containers []struct {
					Name  string
					Ports []struct {
						Name          string
						ContainerPort int
					}
				}
			}
			Status struct{ Phase, PodIP string }
		}
	}
	getInto(t, &pods, "pods", "--namespace", namespace)
	var all []object
	for _, p := range pods.Items {
		if p.Status.PodIP == "" {
			continue // as Prometheus does
		}
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				labels := map[string]string{
					"namespace": namespace, "pod_name": p.Metadata.Name, "pod_phase": p.Status.Phase, "pod_node_name": p.Spec.NodeName,
					"pod_container_name": c.Name, "pod_container_port_name": port.Name,
				}
				for name, value := range p.Metadata.Labels {
					name = strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name)
					labels["pod_label_"+name], labels["pod_labelpresent_"+name] = value, "true"
				}
				meta := make(map[string]string)
				for name, value := range labels {
					meta["__meta_kubernetes_"+name] = value
				}
				all = append(all, object{"targets": []string{net.JoinHostPort(p.Status.PodIP, strconv.Itoa(port.ContainerPort))}, "labels": meta})
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
