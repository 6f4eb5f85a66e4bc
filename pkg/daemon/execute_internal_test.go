// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/outputtest"
)

// execute runs the reaper command with these arguments, below a root command with only --state-dir, and with an empty
// environment.
func execute(ctx context.Context, stderr io.Writer, args ...string) error {
	root := &cobra.Command{Use: "halfclose", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().String(stateDirFlag, "", "")
	root.AddCommand(Command(Environment{Getenv: func(string) string { return "" }})) //nolint:contextcheck // it takes the context that it is executed with
	root.SetErr(stderr)
	root.SetArgs(append([]string{"reaper"}, args...))
	return root.ExecuteContext(ctx)
}

// startReaper starts a reaper in this process. It stops with the test or when stop is called.
func startReaper(t *testing.T, dir string, args ...string) (stderr *outputtest.Buffer, stop func() error) {
	t.Helper()
	stderr = &outputtest.Buffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- execute(ctx, stderr, append([]string{"--state-dir", dir}, args...)...) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return stderr, stop
}
