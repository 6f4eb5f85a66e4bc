// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	strict "sigs.k8s.io/yaml"
)

func TestMetricsAreServedOnTheChosenAddress(t *testing.T) {
	for values, want := range map[string]string{ // of the flag; empty for no flag
		"mode=observe":                                              "[127.0.0.1]:20470", // the default
		"metrics.podMonitor.enabled=true":                           "[$(HOST_IP)]:20470",
		"metrics.address=hostIP,metrics.port=9999":                  "[$(HOST_IP)]:9999",
		"metrics.podMonitor.enabled=true,metrics.address=10.0.0.1":  "[10.0.0.1]:20470",
		"metrics.address=fd00::1":                                   "[fd00::1]:20470",
		"metrics.address=0.0.0.0":                                   "[0.0.0.0]:20470",
		"metrics.address=127.0.0.1,metrics.podMonitor.enabled=true": "[127.0.0.1]:20470", // beside a proxy
		"metrics.enabled=false":                                     "",
		"metrics.enabled=false,metrics.address=hostIP,mode=observe": "",
	} {
		t.Run(values, func(t *testing.T) {
			c := container(t, render(t, "--set", values).daemonSet(t), "reaper")
			got := ""
			for _, arg := range c.Args {
				if address, ok := strings.CutPrefix(arg, "--metrics-address="); ok {
					got = address
				}
			}
			if got != want {
				t.Errorf("it listens on %q, want %q", got, want)
			}
			if (len(c.Ports) == 1) != (want != "") {
				t.Errorf("the ports are %v", c.Ports)
			}
			fromNode := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
				return e.Name == "HOST_IP" && e.ValueFrom.FieldRef.FieldPath == "status.hostIP"
			})
			if fromNode != strings.Contains(want, "HOST_IP") {
				t.Errorf("the environment is %v", c.Env)
			}
		})
	}
}

func TestExtraVariablesOfTheReaperStandBesideTheNodesAddress(t *testing.T) {
	for _, address := range []string{"hostIP", "127.0.0.1"} {
		c := container(t, render(t, "--set", "metrics.address="+address+",reaper.extraEnv[0].name=GOGC,reaper.extraEnv[0].value=50").daemonSet(t), "reaper")
		if !slices.Contains(c.Env, corev1.EnvVar{Name: "GOGC", Value: "50"}) {
			t.Errorf("%s: the environment is %v", address, c.Env)
		}
	}
}

// podMonitor renders the PodMonitor.
func (r rendered) podMonitor(t *testing.T) *monitoringv1.PodMonitor {
	t.Helper()
	m, ok := r["PodMonitor halfclose"].(*monitoringv1.PodMonitor)
	if !ok || len(m.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("there is no PodMonitor halfclose with one endpoint among %v", r)
	}
	return m
}

func TestThePodMonitorSelectsThePodsAndTakesItsValues(t *testing.T) {
	r := render(t, "--set", "metrics.podMonitor.enabled=true,metrics.podMonitor.labels.release=prometheus,metrics.podMonitor.scrapeTimeout=5s,metrics.podMonitor.interval=15s",
		"--set-json", `metrics.podMonitor.relabelings=[{"targetLabel":"cluster","replacement":"east"}]`,
		"--set-json", `metrics.podMonitor.metricRelabelings=[{"action":"drop","sourceLabels":["__name__"],"regex":"go_.*"}]`)
	m, ds := r.podMonitor(t), r.daemonSet(t)
	if !reflect.DeepEqual(m.Spec.Selector.MatchLabels, ds.Spec.Selector.MatchLabels) || !slices.Equal(m.Spec.NamespaceSelector.MatchNames, []string{ds.Namespace}) {
		t.Errorf("it selects %v in %v", m.Spec.Selector, m.Spec.NamespaceSelector)
	}
	e := m.Spec.PodMetricsEndpoints[0]
	if *e.Port != container(t, ds, "reaper").Ports[0].Name || e.Interval != "15s" || e.ScrapeTimeout != "5s" || m.Labels["release"] != "prometheus" {
		t.Errorf("%+v", m)
	}
	if last := e.RelabelConfigs[len(e.RelabelConfigs)-1]; last.TargetLabel != "cluster" || *last.Replacement != "east" {
		t.Errorf("the last relabeling is %+v", last)
	}
	if len(e.MetricRelabelConfigs) != 1 || e.MetricRelabelConfigs[0].Regex != "go_.*" {
		t.Errorf("the relabelings of samples are %+v", e.MetricRelabelConfigs)
	}
}

func TestAPodMonitorWithoutMetricsIsRefused(t *testing.T) {
	if _, err := template(t, "1.34.0", "--set", "metrics.podMonitor.enabled=true,metrics.enabled=false"); err == nil || !strings.Contains(err.Error(), "requires metrics.enabled") {
		t.Errorf("got %v", err)
	}
}

// TestTheJobIsHalfclose matters because the rules and the dashboard select it. By default a label of the pods names it.
func TestTheJobIsHalfclose(t *testing.T) {
	for values, fixed := range map[string]bool{
		"fullnameOverride=sockets":                                                        false,
		"nameOverride=sockets,fullnameOverride=halfclose":                                 true,
		"nameOverride=sockets,fullnameOverride=halfclose,metrics.podMonitor.jobLabel=app": false, // chosen
	} {
		r := render(t, "--set", "metrics.podMonitor.enabled=true,"+values)
		var m *monitoringv1.PodMonitor
		for _, object := range r {
			if found, ok := object.(*monitoringv1.PodMonitor); ok {
				m = found
			}
		}
		got := slices.ContainsFunc(m.Spec.PodMetricsEndpoints[0].RelabelConfigs, func(c monitoringv1.RelabelConfig) bool {
			return c.TargetLabel == "job" && *c.Replacement == "halfclose"
		})
		if got != fixed || m.Spec.JobLabel == "" {
			t.Errorf("%s: a relabeling sets the job: %v, want %v; the jobLabel is %q", values, got, fixed, m.Spec.JobLabel)
		}
	}
}

// TestTheOperatorsConfigurationIsOfThisPodMonitor compares the PodMonitor with the one whose configuration test/monitoring and
// test/kind run.
func TestTheOperatorsConfigurationIsOfThisPodMonitor(t *testing.T) {
	var want monitoringv1.PodMonitor
	if err := strict.UnmarshalStrict(repositoryFile(t, "test/monitoring/operator/podmonitor.yaml"), &want); err != nil {
		t.Fatal(err)
	}
	got := render(t, "--set", "metrics.podMonitor.enabled=true").podMonitor(t)
	if got.Name != want.Name || got.Namespace != want.Namespace || !reflect.DeepEqual(got.Spec, want.Spec) {
		t.Errorf("the PodMonitor is\n%+v\nand that of the configuration\n%+v\nrun scripts/operator-config.sh", got.Spec, want.Spec)
	}
}

func TestThePrometheusRuleHasTheShippedRules(t *testing.T) {
	shipped := func() (spec monitoringv1.PrometheusRuleSpec) {
		t.Helper()
		if err := strict.UnmarshalStrict(repositoryFile(t, "deploy/prometheus/halfclose.rules.yaml"), &spec); err != nil {
			t.Fatal(err)
		}
		if len(spec.Groups) != 2 {
			t.Fatalf("%d groups of rules", len(spec.Groups))
		}
		return spec
	}
	rule := func(values string) *monitoringv1.PrometheusRule {
		t.Helper()
		r, ok := render(t, "--set", "metrics.prometheusRule.enabled=true"+values)["PrometheusRule halfclose"].(*monitoringv1.PrometheusRule)
		if !ok {
			t.Fatal("no PrometheusRule")
		}
		return r
	}
	if got, want := rule(",metrics.prometheusRule.labels.release=prometheus"), shipped(); !reflect.DeepEqual(got.Spec, want) || got.Labels["release"] != "prometheus" {
		t.Errorf("the rules are\n%+v\nwant\n%+v", got.Spec, want)
	}
	want := shipped()
	alerts := &want.Groups[1].Rules
	*alerts = slices.DeleteFunc(*alerts, func(r monitoringv1.Rule) bool { return r.Alert == "HalfcloseUnregisteredNetns" })
	for _, r := range *alerts {
		r.Labels["team"], r.Labels["severity"] = "network", "ticket"
	}
	if got := rule(",metrics.prometheusRule.disabled={HalfcloseUnregisteredNetns},metrics.prometheusRule.ruleLabels.team=network,metrics.prometheusRule.ruleLabels.severity=ticket"); !reflect.DeepEqual(got.Spec, want) {
		t.Errorf("with labels and without an alert the rules are\n%+v\nwant\n%+v", got.Spec, want)
	}
	if _, err := template(t, "1.34.0", "--set", "metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled={Nothing}"); err == nil || !strings.Contains(err.Error(), "there is no alert Nothing") {
		t.Errorf("an alert that does not exist: %v", err)
	}
}

func TestTheConfigMapHasTheShippedDashboard(t *testing.T) {
	m, ok := render(t, "--set", "metrics.dashboard.enabled=true,metrics.dashboard.annotations.grafana_folder=Network")["ConfigMap halfclose-dashboard"].(*corev1.ConfigMap)
	if !ok {
		t.Fatal("no ConfigMap")
	}
	if want := strings.TrimSpace(string(repositoryFile(t, "deploy/grafana/halfclose.json"))); m.Data["halfclose.json"] != want {
		t.Error("the dashboard is not deploy/grafana/halfclose.json")
	}
	if m.Labels["grafana_dashboard"] != "1" || m.Annotations["grafana_folder"] != "Network" {
		t.Errorf("%v, %v", m.Labels, m.Annotations)
	}
}

// repositoryFile reads a file by its path in the repository.
func repositoryFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheGuidesProxyFitsTheChart renders the chart with the values that docs/alerts.md has for a proxy with authentication.
func TestTheGuidesProxyFitsTheChart(t *testing.T) {
	_, block, ok := strings.Cut(string(repositoryFile(t, "docs/alerts.md")), "In the chart's values:\n\n")
	if !ok {
		t.Fatal("docs/alerts.md has no values for a proxy")
	}
	block, _, _ = strings.Cut(block, "\n\n")
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	ds := render(t, "--values", values).daemonSet(t)
	if args := container(t, ds, "reaper").Args; !slices.Contains(args, "--metrics-address=[127.0.0.1]:20470") {
		t.Errorf("the reaper is reachable without the proxy: %q", args)
	}
	mounted := container(t, ds, "kube-rbac-proxy").VolumeMounts[0].Name
	if !slices.ContainsFunc(ds.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mounted && v.Projected != nil }) {
		t.Errorf("the proxy mounts %s, which is no volume with a token", mounted)
	}
}
