// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// roleVar is an environment variable with the role of a process: empty for the program as the user started it, then the
// node's first process, then the program on the node.
const roleVar = "_HALFCLOSE_NODE_ROLE"

const (
	roleInit    = "init"
	roleProgram = "program"
)

// reportFD is the descriptor on which the node's first process reports why it cannot create the node.
const reportFD = 3

// Program is a program that runs on a node.
type Program struct {
	// Before runs on the host; if it fails, the node is not created. After runs on the host when the node is gone, with the
	// exit code, unless the node could not be created. Either may be nil.
	Before func() error
	After  func(code int) error
	// Run runs on the node, and returns the exit code.
	Run func() int
	// Furnish runs in the node's first process, when the node's own file systems are mounted. It may be nil.
	Furnish func() error
	// Cgroups creates cgroups for the node. All its processes are in them, and container runtimes create theirs below.
	// Their name on the host is nstest.CgroupPrefix and a PID.
	Cgroups bool
	// Keep lists directories of the host that the node needs, even if they are below /run or /var/lib.
	Keep []string
	// Bin, unless empty, is a directory with the programs under test in the layout of "make build cni-plugins": the
	// command, and in cni the plugins. The node has a copy in BinDir.
	Bin string
}

// Run creates a node, runs p on it, and returns the exit code. main must call it first, on the main goroutine: it starts
// the program twice more, and each of these processes calls Run too.
//
// An error for which Denied is true means that this process may not create the namespaces. SIGINT, SIGTERM and SIGHUP kill
// everything on the node; the code is then 128 plus the number of the signal.
func Run(p Program) (code int, err error) {
	// The kernel kills the node's first process when the thread that started it exits, so that thread must be the main
	// thread. On the node the main thread must not enter another namespace, since it never exits.
	runtime.LockOSThread()
	role := os.Getenv(roleVar)
	if err := os.Unsetenv(roleVar); err != nil { // children have no role
		return 1, err
	}
	if role != "" {
		// The process was executed as /proc/self/exe: give it the program's name.
		if err := os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0); err != nil {
			return 1, err
		}
	}
	switch role {
	case roleProgram:
		return p.Run(), nil
	case roleInit:
		return first(p)
	}
	if p.Before != nil {
		if err := p.Before(); err != nil {
			return 1, err
		}
	}
	if p.Cgroups {
		name := nstest.CgroupPrefix() + strconv.Itoa(os.Getpid())
		defer func() { err = errors.Join(err, removeCgroups(name)) }()
		if err := errors.Join(makeCgroups(name), os.Setenv(cgroupVar, name)); err != nil {
			return 1, err
		}
	}
	code, err = enter(0)
	if errors.Is(err, unix.EPERM) && !p.Cgroups {
		code, err = enter(unix.CLONE_NEWUSER) // as root of a user namespace
	}
	if p.After != nil && err == nil {
		err = p.After(code)
	}
	if err != nil && code == 0 {
		code = 1
	}
	return code, err
}

// enter starts the node's first process in new namespaces and waits until it exits.
func enter(flags uintptr) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	cmd := reexec(roleInit)
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | flags,
		Setsid:     true, // the terminal's signals go to this process, which forwards them
		Pdeathsig:  unix.SIGKILL,
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 1, fmt.Errorf("create namespaces: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = readReport(r)
		if waited := cmd.Wait(); err == nil {
			err = waited
		}
	}()
	select {
	case <-ended:
	case s := <-signals:
		_ = cmd.Process.Kill() // the kernel kills all processes on the node with it
		for {
			if name := os.Getenv(cgroupVar); name != "" {
				thawCgroups(name)
			}
			select {
			case <-ended:
				return 128 + int(s.(syscall.Signal)), nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("the node's first process was killed: %w", err)
	}
	return 0, nil
}

// reexec prepares to start this program in another role.
func reexec(role string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", Args: os.Args, Env: append(os.Environ(), roleVar+"="+role),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
}

// writeReport writes an error, errno first.
func writeReport(w io.Writer, err error) {
	var errno unix.Errno
	errors.As(err, &errno)
	fmt.Fprintf(w, "%d %v", int(errno), err)
}

// readReport returns the reported error, nil if the node was created.
func readReport(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || len(b) == 0 {
		return err
	}
	number, text, _ := bytes.Cut(b, []byte(" "))
	errno, _ := strconv.Atoi(string(number))
	return &setupError{text: string(text), errno: unix.Errno(errno)}
}

// setupError is an error of the node's first process, with its errno.
type setupError struct {
	text  string
	errno unix.Errno
}

func (e *setupError) Error() string { return e.text }

func (e *setupError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// Denied reports whether err of Run means that this process may not create a node.
func Denied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) }
