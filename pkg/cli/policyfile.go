// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
)

// policyFileText describes the node's policy file in one line, "" if there is none.
func (e *env) policyFileText(f api.PolicyFileView) string {
	content := fmt.Sprintf("%s, sha256 %s, since %s", describe.Plural(f.Entries, "entry", "entries"), f.SHA256, e.stamp(f.Since))
	switch f.State {
	case api.PolicyFileInForce:
		return fmt.Sprintf("%s (%s)", f.Path, content)
	case api.PolicyFileLastGood:
		return fmt.Sprintf("last good content of %s (%s): the file has %s", f.Path, content, describe.Plural(f.Errors, "error", "errors"))
	case api.PolicyFileNone:
		return fmt.Sprintf("none: %s has %s and no last good content, so every pod is only observed", f.Path, describe.Plural(f.Errors, "error", "errors"))
	}
	return ""
}
