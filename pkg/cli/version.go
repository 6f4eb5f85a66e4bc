// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/buildinfo"
)

func versionCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  halfclose version
  halfclose version -o json | jq -r .version`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Get()
			if e.PrintsObject() {
				return e.PrintObject(info)
			}
			_, err := fmt.Fprintln(e.Out, info)
			return err
		},
	}
	e.outputFlag(cmd)
	return cmd
}
