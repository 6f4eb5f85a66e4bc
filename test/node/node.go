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

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// roleVar says, in the environment, which part a process has: none for the program as it was called, then
// the node's first process, then the program on the node.
const roleVar = "_HALFCLOSE_NODE_ROLE"

const (
	roleInit    = "init"
	roleProgram = "program"
)

// reportFD is where the node's first process says what kept it from making the node.
const reportFD = 3

// Program is what runs on a node.
type Program struct {
	// Before runs on the host, before the node is made, and keeps it from being made if it fails. After
	// runs there when the node is gone, with the exit code, unless it could not be made. Either may be nil.
	Before func() error
	After  func(code int) error
	// Run runs on the node, and returns the exit code.
	Run func() int
	// Furnish runs in the node's first process, once the node's own file systems are mounted. It may be nil.
	Furnish func() error
	// Cgroups gives the node cgroups of its own, in which all of its processes are: container runtimes make
	// theirs below. They are named halfclose-test-PID on the host.
	Cgroups bool
	// Keep are directories of the host that must be found on the node too, should they be below /run or
	// /var/lib.
	Keep []string
	// Bin, unless empty, is a directory with the programs under test, as "make build cni-plugins" lays them out: the
	// command, and in cni the plugins. The node has a copy of them in BinDir.
	Bin string
}

// Run makes a node, runs p on it and returns the exit code. It must be the first that main does, and on the
// main goroutine: it starts the program twice more, and each of those processes gets here too.
//
// An error for which Denied holds says that this process may not make the namespaces. SIGINT, SIGTERM and
// SIGHUP end the node and everything on it; the code is then 128 and the signal's number.
func Run(p Program) (code int, err error) {
	// The node's first process ends with the thread that started it, so that must be one that stays. On the
	// node the main thread is kept out of other namespaces: it could not be ended there, and would hold them.
	runtime.LockOSThread()
	role := os.Getenv(roleVar)
	if err := os.Unsetenv(roleVar); err != nil { // nobody that is started from here is part of this
		return 1, err
	}
	if role != "" {
		// It was executed as /proc/self/exe; how it is called tells more.
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
		code, err = enter(unix.CLONE_NEWUSER) // as root of a namespace of its own
	}
	if p.After != nil && err == nil {
		err = p.After(code)
	}
	if err != nil && code == 0 {
		code = 1
	}
	return code, err
}

// enter starts the node's first process in new namespaces and waits for its end.
func enter(flags uintptr) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	cmd := again(roleInit)
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | flags,
		Setsid:     true, // what is typed at the terminal is for this process to act upon
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
		return 1, fmt.Errorf("make namespaces: %w", err)
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
		_ = cmd.Process.Kill() // with it the kernel kills all that is on the node
		<-ended
		return 128 + int(s.(syscall.Signal)), nil
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("the node ended: %w", err)
	}
	return 0, nil
}

// again prepares to start this program once more, in another role.
func again(role string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", Args: os.Args, Env: append(os.Environ(), roleVar+"="+role),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
}

// writeReport says what went wrong, errno first.
func writeReport(w io.Writer, err error) {
	var errno unix.Errno
	errors.As(err, &errno)
	fmt.Fprintf(w, "%d %v", int(errno), err)
}

// readReport returns what went wrong, nil if the node was made.
func readReport(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || len(b) == 0 {
		return err
	}
	number, text, _ := bytes.Cut(b, []byte(" "))
	errno, _ := strconv.Atoi(string(number))
	return &setupError{text: string(text), errno: unix.Errno(errno)}
}

// setupError is an error of the node's first process, of which the errno is kept.
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

// Denied reports whether err of Run says that this process may not make a node.
func Denied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) }
