// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Mode returns the mode of a node, in brackets the caps that keep it from destroy, and the parts of the node that switches
// keep below it.
func Mode(m api.ModeView) string {
	text := m.Effective.String()
	if reasons := m.CapReasons(policy.Destroy); len(reasons) > 0 {
		text += " (" + strings.Join(reasons, "; ") + ")"
	}
	var parts []string
	for _, sw := range m.Switches {
		if sw.Mode > m.Effective {
			parts = append(parts, sw.Mode.String()+" for "+sw.ScopeName())
		}
	}
	const few = 3
	if more := len(parts) - few; more > 0 {
		parts = append(parts[:few], Plural(more, "more part", "more parts")+" of the node (see halfclose mode)")
	}
	if len(parts) > 0 {
		text += ", but " + strings.Join(parts, ", ")
	}
	return text
}

// AttachmentMode returns the mode of an attachment, with a star if it is below that of the policy.
func AttachmentMode(a api.AttachmentView) string {
	switch {
	case a.Inert != "":
		return "inert"
	case len(a.CappedBy) > 0:
		return a.Mode.String() + "*"
	}
	return a.Mode.String()
}
