// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"

	"github.com/halfclose/halfclose/pkg/api"
)

// policyFileFindings lists the mistakes in the policy file.
func policyFileFindings(f api.PolicyFileView) []Finding {
	var list []Finding
	for _, p := range f.Problems {
		text := f.Path
		if p.Line > 0 {
			text += fmt.Sprintf(", line %d", p.Line)
		}
		if p.Key != "" {
			text += ", " + p.Key
		}
		list = append(list, Finding{Kind: PolicyFileWrong, Text: text + ": " + p.Message, IsLastGood: f.State == api.PolicyFileLastGood})
	}
	if more := f.Errors - len(f.Problems); more > 0 {
		list = append(list, Finding{Kind: PolicyFileWrong, Text: fmt.Sprintf("%s: and %d more", f.Path, more), IsLastGood: f.State == api.PolicyFileLastGood})
	}
	return list
}

// policyFileAdvice returns what to do about a wrong policy file.
func policyFileAdvice(isLastGood bool) string {
	effect := "every pod is only observed, as there is no last good content"
	if isLastGood {
		effect = "its last good content stays in force"
	}
	return `correct the file, of which "halfclose policy check FILE" lists every mistake; until then ` + effect
}
