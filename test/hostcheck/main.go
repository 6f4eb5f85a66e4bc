// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command hostcheck runs a command and fails if the command leaves anything on the host: a process, mount,
// link, address, packet filter rule, cgroup, sysctl, or a file where container runtimes keep theirs. Whatever
// the command starts is its own, however often it forks; what is left of that is ended.
//
//	hostcheck COMMAND [ARGUMENT...]
//
// Its exit code is the command's, or 1 if that is 0 and something stayed. SIGINT, SIGTERM and SIGHUP are
// passed on to the command, after which the host is looked at all the same. It needs root.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// checker is how long to wait before something counts as left.
type checker struct {
	// settle bounds the wait for what goes by itself: the kernel frees namespaces and cgroups some time after
	// the last process in them has ended, and other tests on the machine come and go.
	settle time.Duration
	// patience is how long processes may go on after the command, as those do that end on its word.
	patience time.Duration
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: hostcheck COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	os.Exit(checker{settle: time.Minute, patience: 10 * time.Second}.main(os.Args[1], os.Args[2:]))
}

func (c checker) main(name string, args []string) int {
	code, err := c.check(name, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostcheck:", err)
		if code == 0 {
			code = 1
		}
	}
	return code
}

// check runs the command between two looks at the host.
func (c checker) check(name string, args []string) (code int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become the parent of orphans: %w", err)
	}
	before, err := look()
	if err != nil {
		return 1, fmt.Errorf("look at the host: %w", err)
	}
	code, err = run(name, args)
	if err != nil {
		return 1, err
	}
	left, err := endOrphans(c.patience)
	if err != nil {
		return code, err
	}
	changes, err := settled(before, c.settle)
	if err != nil {
		return code, fmt.Errorf("look at the host: %w", err)
	}
	left = append(left, changes...)
	if len(left) == 0 {
		fmt.Fprintln(os.Stderr, "hostcheck: the host is as it was")
		return code, nil
	}
	for _, l := range left {
		fmt.Fprintln(os.Stderr, "hostcheck:", l)
	}
	return code, fmt.Errorf("%s has left the host changed: %d differences", name, len(left))
}

// run runs the command and returns its exit code, or 128 and the number of the signal that ended it.
func run(name string, args []string) (int, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 1, err
			}
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// settled compares the host with what it was, until there is no difference or the time is over.
func settled(before state, within time.Duration) ([]string, error) {
	late := time.After(within)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := look()
		if err != nil {
			return nil, err
		}
		changes := before.changes(now)
		if len(changes) == 0 {
			return nil, nil
		}
		select {
		case <-late:
			return changes, nil
		case <-tick.C:
		}
	}
}
