// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"golang.org/x/sys/unix"
	xterm "golang.org/x/term"

	"github.com/halfclose/halfclose/pkg/term"
)

const (
	framesPerSecond = 20
	// restoreTimeout bounds the wait for a terminal that reads no more, such as one behind a hung network connection.
	restoreTimeout = 2 * time.Second
)

// Run shows the view on a terminal, open as in and out, until the operator quits or ctx is done.
func (v *View) Run(ctx context.Context, in, out *os.File, s term.Screen) error {
	before, err := xterm.GetState(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal up for a full screen: %w", err)
	}
	options := []tea.ProgramOption{tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond)}
	if !s.Colour {
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	p := tea.NewProgram(v.model, options...)
	ended := make(chan error, 1)
	go func() {
		_, err := p.Run()
		ended <- err
	}()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGHUP, unix.SIGTERM, unix.SIGINT)
	defer stop()
	jobs := make(chan os.Signal, 8)
	signal.Notify(jobs, unix.SIGTSTP, unix.SIGCONT)
	defer signal.Stop(jobs)
	for {
		select {
		case err := <-ended:
			if errors.Is(err, unix.EIO) { // the terminal is gone
				return nil
			}
			return err
		case sig := <-jobs:
			go p.Send(tea.Exec(&suspension{sig, jobs}, nil)())
		case <-ctx.Done():
			go p.Quit()
			select {
			case err := <-ended:
				return err
			case <-time.After(restoreTimeout):
				return xterm.Restore(int(in.Fd()), before)
			}
		}
	}
}

// suspension is a command that bubbletea runs on the restored terminal: it stops this process until SIGCONT. If the shell
// has continued the process already, it only sets the terminal up again.
type suspension struct {
	signal os.Signal
	jobs   chan os.Signal // receives no signals during the stop
}

// Run stops this process with SIGSTOP, because os/signal does not restore the default action of SIGTSTP. Without a shell in
// the session to continue the process, it does nothing.
func (s *suspension) Run() error {
	if s.signal == unix.SIGCONT {
		return nil
	}
	parent, err := unix.Getsid(os.Getppid())
	own, ownErr := unix.Getsid(0)
	if err != nil || ownErr != nil || parent != own {
		return nil
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	signal.Stop(s.jobs)
	defer signal.Notify(s.jobs, unix.SIGTSTP, unix.SIGCONT)
	defer signal.Stop(continued)
	if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop this process: %w", err)
	}
	select {
	case <-continued:
	case <-time.After(time.Second): // this thread may get here before the process stops
	}
	return nil
}

// SetStdin implements tea.ExecCommand.
func (*suspension) SetStdin(io.Reader) {}

// SetStdout implements tea.ExecCommand.
func (*suspension) SetStdout(io.Writer) {}

// SetStderr implements tea.ExecCommand.
func (*suspension) SetStderr(io.Writer) {}

// suspend makes Run suspend the screen.
func suspend() tea.Msg {
	_ = unix.Kill(os.Getpid(), unix.SIGTSTP) // a process may signal itself
	return nil
}
