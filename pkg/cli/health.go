// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/term"
)

func healthCommand(e *env) *cobra.Command {
	live := false
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the reaper whether it is at work, as a probe does",
		Long: `Ask the reaper on this node whether it has read the records, its loop turns, and it
can enter network namespaces. The exit code is 1, with the reason, if not.

With --live it is enough that it has read the records and its loop turns: for
liveness and startup probes, since a restart does not give a reaper the privileges
that it lacks.

It is for the probes of a container, which is why it asks on the reaper's own
unix socket: on a port of the node another process may answer.`,
		Example: "  halfclose health\n  halfclose health --live",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			ask := client.Health
			if live {
				ask = client.Live
			}
			h, err := ask(cmd.Context())
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return printJSON(e.out, h)
			}
			_, err = fmt.Fprintln(e.out, term.Clean(h.Status))
			return err
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether it runs")
	e.outputFlag(cmd)
	return cmd
}
