// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cmdline_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
)

func TestAMistakeInTheCommandLineHasItsOwnExitCode(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		check error // of the common flags
		run   error // of the command
		code  int
		want  string
	}{
		{name: "success", args: []string{"sub"}, code: cmdline.Success},
		{name: "a failure", args: []string{"sub"}, run: errors.New("no reaper"), code: cmdline.Failure, want: "no reaper"},
		{name: "a mistake that the command finds", args: []string{"sub"}, run: fmt.Errorf("no: %w", cmdline.AsUsage(errors.New("--n is 0"))), code: cmdline.Usage, want: "no: --n is 0"},
		{name: "an unknown flag", args: []string{"sub", "--x"}, code: cmdline.Usage, want: `unknown flag: --x (see "root sub --help")`},
		{name: "a wrong common flag", args: []string{"sub"}, check: errors.New("--all is\nwrong"), code: cmdline.Usage, want: `--all is wrong (see "root sub --help")`},
		{name: "two flags that exclude each other", args: []string{"sub", "--a", "--b"}, code: cmdline.Usage, want: `if any flags in the group [a b] are set none of the others can be; [a b] were all set (see "root sub --help")`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := &cobra.Command{Use: "root", SilenceErrors: true, SilenceUsage: true}
			sub := &cobra.Command{Use: "sub", RunE: func(*cobra.Command, []string) error { return tt.run }}
			sub.Flags().Bool("a", false, "")
			sub.Flags().Bool("b", false, "")
			sub.MarkFlagsMutuallyExclusive("a", "b")
			root.AddCommand(sub)
			root.SetOut(io.Discard)
			err := cmdline.Execute(t.Context(), root, tt.args, func() error { return tt.check })
			if code := cmdline.ExitCode(err); code != tt.code || (err != nil) != (tt.want != "") || err != nil && err.Error() != tt.want {
				t.Errorf("code %d, error %v; want %d, %q", code, err, tt.code, tt.want)
			}
		})
	}
}
