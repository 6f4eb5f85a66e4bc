// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/printer"
)

// statusFlags are the flags of halfclose status.
type statusFlags struct {
	pods api.PodQuery
	all  bool
}

func statusCommand(e *env) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the reaper, the attachments and their problems",
		Long: `Show the reaper and the attachments on this node: for each pod the number of
half-closed sockets, the age of the oldest, the number past their grace
(OVERDUE), the number of destroyed sockets and the policy. Problems follow,
each with its fix. With --pod the whole policy is shown, with the source of
each value.

The counts are from the last sweep of each namespace. The interval between two
sweeps is at most a quarter of the namespace's shortest grace or probe-after.
"halfclose sockets --all" queries the kernel now.

The pod with the most half-closed sockets comes first. If there are more than
20 attachments, those without sockets, destroys and problems are only counted;
--all lists them. --output json has every field.`,
		Example: `  halfclose status
  halfclose status --pod shop/web-1
  halfclose status --all -o wide | grep observe
  halfclose status -o json | jq '.attachments[] | select(.warnings)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.status(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "list attachments without sockets, destroys and problems too")
	e.podFlags(cmd, &f.pods, "only attachments")
	e.tableFlags(cmd)
	return cmd
}

func (e *env) status(ctx context.Context, f statusFlags) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	registered := len(s.Attachments) > 0
	var builds printer.Findings
	builds.AddBuilds("", &s, buildinfo.Get().Build()) // of all attachments
	if isUnknown(f.pods, s.Attachments) {
		return unknownPod(f.pods, s)
	}
	s.Attachments = slices.DeleteFunc(s.Attachments, func(a api.AttachmentView) bool { return !f.pods.Covers(a.Pod, a.ContainerID) })
	if e.PrintsObject() {
		err = e.PrintObject(s)
	} else {
		err = e.PrintStatus(&s, printer.StatusParts{All: f.all || !f.pods.IsZero(), Policies: f.pods.Pod != ""}, builds)
	}
	if err == nil && !registered && e.PrintsObject() { // the text has it as a finding
		e.noteNothingRegistered(s)
	}
	return err
}
