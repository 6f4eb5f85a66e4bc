// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"io"
	"net"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Start starts a process in the namespace that has the connections as descriptors from 3 on, and returns pipes to its
// standard input and from its standard output. The test keeps its own descriptors of the connections. When the test ends,
// the process is killed, even if it is stopped or frozen.
func (n *NS) Start(tb testing.TB, cmd *exec.Cmd, conns ...*net.TCPConn) (stdin io.WriteCloser, stdout io.ReadCloser) {
	tb.Helper()
	for _, c := range conns {
		f, err := c.File()
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if stdout, err = cmd.StdoutPipe(); err != nil {
		tb.Fatal(err)
	}
	n.Do(tb, func() { err = cmd.Start() })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill() // it may have exited
		_ = cmd.Process.Signal(unix.SIGCONT)
		_ = cmd.Wait()
	})
	return stdin, stdout
}
