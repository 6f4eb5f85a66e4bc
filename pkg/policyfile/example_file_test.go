// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile_test

import (
	"os"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

// TestTheShippedFileChangesNothingAndItsExamplesAreCorrect reads deploy/policy.yaml as it is, and with its examples.
func TestTheShippedFileChangesNothingAndItsExamplesAreCorrect(t *testing.T) {
	data, err := os.ReadFile("../../deploy/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if f := parse(t, string(data)); !f.IsEmpty() {
		t.Errorf("as shipped: %+v", f)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		prose := strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "#  ")
		if line != "pods: []\n" && !prose {
			text.WriteString(strings.TrimPrefix(line, "#"))
		}
	}
	f := parse(t, text.String())
	if len(f.Entries) != 3 || f.Defaults == nil || f.PodOverrides != policy.OverridesRelax {
		t.Fatalf("with its examples: %+v", f)
	}
	api := policyfile.Facts{Namespace: "payments-eu", Pod: "api-1", Network: "pods", ID: "1"}
	dns := policyfile.Facts{Namespace: "kube-system", Pod: "dns-1", Network: "pods", ID: "2"}
	if p := f.Resolve(policy.Layers{}, api, 0).Policies[0]; p.ProbeAfter != 300*second || p.CloseWaitGrace != 1800*second || len(p.Rules) != 2 || p.Mode != policy.Destroy {
		t.Errorf("payments: %+v", p)
	}
	if p := f.Resolve(policy.Layers{}, dns, 0).Policies[0]; p.Mode != policy.Observe || len(p.Rules) != 1 || *p.Rules[0].Values.Mode != policy.Off {
		t.Errorf("kube-system: %+v", p)
	}
}
