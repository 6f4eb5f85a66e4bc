// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// OperatorRules is the file of rules in the configuration of test/monitoring/operator.
const OperatorRules = "/etc/prometheus/rules/halfclose/*.yaml"

// CheckAlerts lets promtool check the alerts on reapers, which need minutes, with the labels of two real series up.
func CheckAlerts(t *testing.T, rules string, up, down map[string]string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "alerts.test.yaml")
	rules, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(alertsOver(rules, up, down)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(Need(t, "promtool"), "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// alertsOver returns a unit test of rules: one of two reapers is down for 20 minutes, then both are up, then there is neither.
func alertsOver(rulesFile string, up, down map[string]string) string {
	labels := func(of map[string]string) string {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(of)) {
			if name != "__name__" {
				list = append(list, fmt.Sprintf("%s=%q", name, of[name]))
			}
		}
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf(`rule_files: [%s]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{%s}', values: '1x40 _x40'}
      - {series: 'up{%s}', values: '0x20 1x20 _x40'}
    promql_expr_test:
      - {expr: 'count(ALERTS{alertname="HalfcloseReaperDown", instance=%[4]q, alertstate="firing"})', eval_time: 15m, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="HalfcloseReaperDown", alertstate="firing"})', eval_time: 15m, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'ALERTS{alertname="HalfcloseReaperDown"}', eval_time: 35m, exp_samples: []}
      - {expr: 'ALERTS{alertname="HalfcloseReapersAbsent"}', eval_time: 35m, exp_samples: []}
      - {expr: 'count(ALERTS{alertname="HalfcloseReapersAbsent", alertstate="firing"})', eval_time: 75m, exp_samples: [{labels: '{}', value: 1}]}
`, rulesFile, labels(up), labels(down), down["instance"])
}
