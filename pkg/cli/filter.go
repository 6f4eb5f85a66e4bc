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
	cmd.Flags().StringVar(pod, "pod", "", usage+": a `name`, namespace/name or prefix of a container ID")
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

// Set parses the name of a state.
func (v stateValue) Set(text string) error {
	s, err := inetdiag.ParseState(text, inetdiag.AllStates)
	if err != nil {
		return fmt.Errorf("want %v, %v, or with --all any TCP state", inetdiag.CloseWait, inetdiag.FinWait2)
	}
	*v.to = s
	return nil
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

// Set parses the name of a verdict.
func (v *verdictValue) Set(text string) error {
	var r policy.Reason
	if err := r.UnmarshalText([]byte(strings.ToLower(text))); err != nil {
		return fmt.Errorf("want one of %s", strings.Join(verdictNames(), ", "))
	}
	*v = verdictValue{reason: r, set: true}
	return nil
}

// verdictNames lists the values of --verdict.
func verdictNames() []string {
	var names []string
	for _, r := range policy.Reasons() {
		names = append(names, r.String())
	}
	return names
}
