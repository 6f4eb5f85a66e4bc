// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// podFlags adds --pod, --namespace and --all-namespaces to a command.
func (e *env) podFlags(cmd *cobra.Command, q *api.PodQuery, usage string) {
	cmd.Flags().StringVar(&q.Pod, "pod", "", usage+" of this `POD`: namespace/name, name, or prefix of a container ID")
	cmd.Flags().StringVarP(&q.Namespace, "namespace", "n", "", usage+" of pods in this Kubernetes `NAMESPACE`")
	cmd.Flags().BoolP("all-namespaces", "A", false, usage+" of pods in all Kubernetes namespaces (the default)")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	_ = cmd.RegisterFlagCompletionFunc("pod", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.podNames(cmd.Context(), *q), cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.namespaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
}

// noSuchPod is the error of a query that covers no attachment: most likely the name is misspelt.
func noSuchPod(q api.PodQuery) error {
	var flags []string
	if q.Namespace != "" {
		flags = append(flags, "--namespace "+q.Namespace)
	}
	if q.Pod != "" {
		flags = append(flags, "--pod "+q.Pod)
	}
	return fmt.Errorf("no attachment matches %s; \"halfclose status --all\" lists them", strings.Join(flags, " "))
}

// isUnknown reports whether a query covers none of the attachments.
func isUnknown(q api.PodQuery, attachments []api.AttachmentView) bool {
	return !q.IsZero() && !slices.ContainsFunc(attachments, func(a api.AttachmentView) bool { return q.Covers(a.Pod, a.ContainerID) })
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
