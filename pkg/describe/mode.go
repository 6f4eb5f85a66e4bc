// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Mode returns the mode of a node, and in brackets the caps that keep it from destroy.
func Mode(m api.ModeView) string {
	if reasons := m.CapReasons(policy.Destroy); len(reasons) > 0 {
		return m.Effective.String() + " (" + strings.Join(reasons, "; ") + ")"
	}
	return m.Effective.String()
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
