// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command hostcheck runs a command, and fails if the command leaves anything behind: a process, mount, link, address,
// route, packet filter rule, cgroup, sysctl, or a file where container runtimes keep theirs.
//
//	hostcheck COMMAND [ARGUMENT...]
//
// Its exit code is the command's, or 1 if that is 0 and something is left. It passes SIGINT, SIGTERM and SIGHUP on to the
// command, waits until the command exits, and then checks the host as usual. It needs root.
//
// Other programs change the host while the command runs. hostcheck fails only for differences that it can attribute to
// the command, and prints the others as notes:
//
//   - Processes: hostcheck is the subreaper of the command's processes. It kills leftover processes.
//   - Mounts: the command runs in a mount namespace of its own, without propagation.
//   - Links, addresses, routes, rules and the sysctls of network namespaces: it runs in a network namespace of its own.
//   - Files below /run and /var/lib: both are empty there, except for the directories that the command needs: the
//     working directory and the paths in environment variables.
//   - Cgroups: tests create theirs with the prefix that package nstest makes from the variable HALFCLOSE_TEST_RUN. A
//     cgroup with another name is a note.
//   - Files in the other places, such as /etc/cni: nothing shows who created them. Few programs write there, so a
//     difference is a failure.
//   - Sysctls of the whole machine, such as fs.file-max: nothing shows who wrote them, and each systemd that starts
//     raises some. A difference is a note. test/kind, the only suite that changes some, restores them and fails if it cannot.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// checker has the timeouts after which an object on the host counts as left behind.
type checker struct {
	release time.Duration // the kernel frees mounts, links and cgroups some time after their last process has exited
	exit    time.Duration // processes may still be exiting when the command has exited
}

// init keeps main on the main thread, whose namespaces are those of /proc/self.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: hostcheck COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	os.Exit(checker{release: time.Minute, exit: 10 * time.Second}.main(os.Args[1], os.Args[2:]))
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

// check runs the command between two snapshots of the host. It must be called on the main thread.
func (c checker) check(name string, args []string) (code int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become the subreaper of the command's processes: %w", err)
	}
	if err := os.Setenv(nstest.RunVar, strconv.Itoa(os.Getpid())); err != nil {
		return 1, err
	}
	keep, err := neededDirs()
	if err == nil {
		err = node.Isolate(keep)
	}
	if err != nil {
		return 1, fmt.Errorf("isolate the command: %w", err)
	}
	before, err := takeSnapshot()
	if err != nil {
		return 1, err
	}
	code, err = run(name, args)
	if err != nil {
		return 1, err
	}
	left, err := killOrphans(c.exit)
	if err != nil {
		return code, err
	}
	changes, err := awaitUnchanged(before, c.release)
	if err != nil {
		return code, err
	}
	printNotes(changes.unattributed)
	left = append(left, changes.own...)
	if len(left) == 0 {
		fmt.Fprintf(os.Stderr, "hostcheck: %s left nothing behind\n", name)
		return code, nil
	}
	for _, l := range left {
		fmt.Fprintln(os.Stderr, "hostcheck:", l)
	}
	return code, fmt.Errorf("%s changed the host: %d differences", name, len(left))
}

// maxNotes limits the notes that are printed.
const maxNotes = 10

func printNotes(notes []string) {
	for i, n := range notes {
		if i == maxNotes {
			fmt.Fprintf(os.Stderr, "hostcheck: note: %d more such differences\n", len(notes)-i)
			return
		}
		fmt.Fprintln(os.Stderr, "hostcheck: note: maybe by another program:", n)
	}
}

// run runs the command and returns its exit code, or 128 plus the number of the signal that killed it.
func run(name string, args []string) (int, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have exited
		case err := <-exited:
			if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
				return 1, err
			}
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			return cmd.ProcessState.ExitCode(), nil
		}
	}
}

// awaitUnchanged compares the host with the snapshot until the command's changes are gone or the timeout expires.
func awaitUnchanged(before snapshot, timeout time.Duration) (differences, error) {
	expired := time.After(timeout)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := takeSnapshot()
		if err != nil {
			return differences{}, err
		}
		changes := before.compare(now)
		if len(changes.own) == 0 {
			return changes, nil
		}
		select {
		case <-expired:
			return changes, nil
		case <-tick.C:
		}
	}
}
