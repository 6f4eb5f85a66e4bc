// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package cmdline runs a tree of cobra commands, and distinguishes a mistake in the command line from a failure.
package cmdline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes. A program may have more.
const (
	Success = 0
	Failure = 1
	Usage   = 2
)

// usageError is a mistake in the flags, the arguments or the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// AsUsage returns err as a mistake in the flags, the arguments or the environment: its exit code is [Usage].
func AsUsage(err error) error { return usageError{err} }

// ExitCode returns the exit code of an error of [Execute].
func ExitCode(err error) int {
	if err == nil {
		return Success
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return Usage
	}
	return Failure
}

// Execute runs the command of root that args names, after check has validated the common flags. An error before the
// command begins is a mistake in the command line, and names the command's help.
func Execute(ctx context.Context, root *cobra.Command, args []string, check func() error) error {
	began := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := check(); err != nil {
			return err
		}
		if err := cmd.ValidateFlagGroups(); err != nil { // cobra checks them after this
			return err
		}
		began = true
		return nil
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || began {
		return err
	}
	text := strings.Join(strings.Fields(err.Error()), " ") // cobra prints suggestions in lines of their own
	return AsUsage(fmt.Errorf("%s (see \"%s --help\")", text, cmd.CommandPath()))
}
