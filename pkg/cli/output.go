// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/printer"
)

// outputFlag adds --output to a command.
func (e *env) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.Format, "output", "o", printer.Table, "output `format`: table, wide (one line per row), json or yaml")
	completeOneOf(cmd, "output", printer.Formats()...)
}

// tableFlags adds --output and --no-headers to a command that prints a table.
func (e *env) tableFlags(cmd *cobra.Command) {
	e.outputFlag(cmd)
	cmd.Flags().BoolVar(&e.NoHeaders, "no-headers", false, "print tables without their header")
}

// checkOutput validates --output.
func (e *env) checkOutput() error {
	if err := printer.CheckFormat(e.Format); err != nil {
		return cmdline.AsUsage(err)
	}
	return nil
}
