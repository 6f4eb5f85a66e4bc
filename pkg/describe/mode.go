// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// Mode returns the mode of a node, and in brackets the settings that cap it. It is safe to show.
func Mode(m api.ModeView) string {
	var by []string
	if m.Reaper != policy.Destroy {
		by = append(by, "--mode "+m.Reaper.String())
	}
	if m.Switch != nil {
		by = append(by, fmt.Sprintf("switched to %s by %s", m.Switch.Mode, term.Clean(m.Switch.By())))
	}
	if m.SwitchProblem != "" {
		by = append(by, "the switch cannot be read")
	}
	if m.KernelProblem != "" {
		by = append(by, "sockets cannot be destroyed here")
	}
	if m.NetnsProblem != "" {
		by = append(by, "no network namespace can be entered")
	}
	if len(by) == 0 {
		return m.Effective.String()
	}
	return m.Effective.String() + " (" + strings.Join(by, "; ") + ")"
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
