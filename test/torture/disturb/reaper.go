// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/test/torture/model"
)

// Reaper is the reaper under test: one process after the other, with one log.
type Reaper struct {
	program string
	env     []string
	log     *os.File

	mu     sync.Mutex
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
}

// NewReaper returns a reaper that does not run yet. Its log is appended to the file at logPath.
func NewReaper(programs, logPath string, env []string, args ...string) (*Reaper, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Reaper{program: filepath.Join(programs, "halfclose"), env: env, log: log, args: args}, nil
}

// Args returns the arguments after "reaper".
func (r *Reaper) Args() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.args
}

// SetArgs sets the arguments of the next start.
func (r *Reaper) SetArgs(args ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.args = args
}

// Start starts the process.
func (r *Reaper) Start() error { return r.start(nil, (*exec.Cmd).Start) }

// StartInjected starts the process under a supervisor of these system calls.
func (r *Reaper) StartInjected(calls []uintptr, faults ...inject.Fault) (s *inject.Supervisor, err error) {
	err = r.start(nil, func(cmd *exec.Cmd) (err error) {
		s, err = inject.Start(cmd, calls, faults...)
		return err
	})
	return s, err
}

// HandOver starts another process that waits for the first, and stops the first with SIGTERM.
func (r *Reaper) HandOver(patience time.Duration) error {
	r.mu.Lock()
	first, exited := r.cmd, r.exited
	r.mu.Unlock()
	if err := r.start([]string{"--wait"}, (*exec.Cmd).Start); err != nil {
		return err
	}
	if err := first.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	select {
	case <-exited:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the reaper has not exited within %v of SIGTERM", patience)
	}
}

func (r *Reaper) start(more []string, start func(*exec.Cmd) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cmd := exec.Command(r.program, slices.Concat([]string{"reaper"}, r.args, more)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), r.env...), r.log, r.log
	if err := start(cmd); err != nil {
		return fmt.Errorf("start the reaper: %w", err)
	}
	exited := make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // ProcessState has the exit code
		close(exited)
	}()
	return nil
}

// PID returns the process ID.
func (r *Reaper) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.Process.Pid
}

// Signal sends a signal.
func (r *Reaper) Signal(s unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.Process.Signal(s)
}

// Exited is closed when the process has exited.
func (r *Reaper) Exited() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exited
}

// Kill kills the process with SIGKILL and waits until it is gone.
func (r *Reaper) Kill() error {
	if err := r.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-r.Exited()
	return nil
}

// Stop sends SIGTERM, waits until the process has exited, and returns its exit code.
func (r *Reaper) Stop(patience time.Duration) (int, error) {
	if err := r.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	select {
	case <-r.Exited():
		return r.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("the reaper has not exited within %v of SIGTERM", patience)
	}
}

// WriteLog appends a line of the schedule to the reaper's log, so that both can be read together.
func (r *Reaper) WriteLog(format string, args ...any) {
	fmt.Fprintf(r.log, "torture %v: "+format+"\n", append([]any{model.Now()}, args...)...)
}
