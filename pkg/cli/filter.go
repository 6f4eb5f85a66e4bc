// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// podFlag adds --pod to a command.
func (e *env) podFlag(cmd *cobra.Command, pod *string, usage string) {
	cmd.Flags().StringVar(pod, "pod", "", usage+", a `name`, namespace/name or the beginning of a container ID")
	e.completePods(cmd)
}

// stateValue is the value of --state.
type stateValue struct{ to *inetdiag.State }

func (v stateValue) Type() string { return "state" }

func (v stateValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return v.to.String()
}

// Set takes a state's name as the kernel, ss(8) and netstat(8) write it: CLOSE_WAIT, FIN-WAIT-2, fin_wait2.
func (v stateValue) Set(text string) error {
	fold := strings.NewReplacer("-", "", "_", "").Replace
	for s := inetdiag.Established; s <= inetdiag.BoundInactive; s++ {
		if strings.EqualFold(fold(text), fold(s.String())) {
			*v.to = s
			return nil
		}
	}
	return fmt.Errorf("want %v, %v, or with --all any TCP state", inetdiag.CloseWait, inetdiag.FinWait2)
}

// verdictValue is the value of --verdict.
type verdictValue struct {
	reason policy.Reason
	set    bool
}

func (v *verdictValue) Type() string { return "verdict" }

func (v *verdictValue) String() string {
	if !v.set {
		return ""
	}
	return v.reason.String()
}

// Set takes a verdict's name.
func (v *verdictValue) Set(text string) error {
	var r policy.Reason
	if err := r.UnmarshalText([]byte(strings.ToLower(text))); err != nil {
		return fmt.Errorf("want one of %s", strings.Join(verdictNames(), ", "))
	}
	*v = verdictValue{reason: r, set: true}
	return nil
}

// verdictNames lists what --verdict takes.
func verdictNames() []string {
	var names []string
	for _, r := range policy.Reasons() {
		names = append(names, r.String())
	}
	return names
}
