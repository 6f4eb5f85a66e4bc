// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package testnode

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/outputtest"
)

// Process is a process that a test has started, such as a reaper, in a process group of its own.
type Process struct {
	tb     testing.TB
	cmd    *exec.Cmd
	exited chan struct{} // closed once it has
	output outputtest.Buffer
}

// Start starts a command. Its output is kept, and logged if the test fails. If the process is still running when the test
// ends, it is killed with its group.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	return StartBy(tb, cmd, cmd.Start)
}

// StartBy starts a command by calling start, which may start it in a namespace or with fewer privileges.
func StartBy(tb testing.TB, cmd *exec.Cmd, start func() error) *Process {
	tb.Helper()
	p := &Process{tb: tb, cmd: cmd, exited: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	cmd.Stderr = &p.output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	if err := start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // ProcessState has the exit code
	}()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			text := p.output.String()
			tb.Logf("the output of process %d:\n%s", p.PID(), text[max(0, len(text)-8000):])
		}
	})
	return p
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns the output so far, stderr included.
func (p *Process) Output() string { return p.output.String() }

// Running reports whether the process has not exited.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Wait waits until the process has exited, and returns its exit code, -1 if a signal has killed it.
func (p *Process) Wait() int {
	p.tb.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		p.tb.Fatalf("process %d has not exited within %v; its output:\n%s", p.PID(), Patience, p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop stops the process as a service manager does. The exit code must be 0.
func (p *Process) Stop() {
	p.tb.Helper()
	p.Signal(unix.SIGTERM)
	if code := p.Wait(); code != 0 {
		p.tb.Errorf("after SIGTERM the exit code is %d; its output:\n%s", code, p.Output())
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(s unix.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatal(err)
	}
}

// Kill kills the process and its group, if it is still running, and waits until it has exited.
func (p *Process) Kill() {
	p.tb.Helper()
	_ = unix.Kill(-p.PID(), unix.SIGKILL) // it may have exited
	p.Wait()
}
