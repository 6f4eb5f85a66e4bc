// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
)

func healthCommand(e *env) *cobra.Command {
	live := false
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Query the reaper's health, for probes",
		Long: `Query the health of this node's reaper. It is healthy if it has read the
records, its main loop is running, and it can enter network namespaces.
Otherwise the exit code is 1, with the reason.

With --live the network namespaces do not count. Use it for liveness and
startup probes: a restart does not give the reaper a privilege that it lacks.

The query goes over the reaper's unix socket, because another process might
answer on a port of the node.`,
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
			if e.PrintsObject() {
				return e.PrintObject(h)
			}
			_, err = fmt.Fprintln(e.Out, safetext.Escape(h.Status))
			return err
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "do not check that the reaper can enter network namespaces")
	e.outputFlag(cmd)
	return cmd
}
