// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package launch starts the shared reaper when none runs.
//
// The plugin asks [Running], and starts its [Sibling] if the answer is no. The runtime waits until the plugin's
// stdout and stderr are closed everywhere, kills what it finds in the plugin's process group and cgroup,
// and tunes both to its own needs; so the reaper takes nothing along: Start leaves behind all that a
// parent can leave behind before the exec, and the reaper drops the rest with [Detach].
package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/state"
)

// Running reports whether a reaper listens on the unix socket at path. It does not block, and sends
// nothing: a reaper that is too busy to accept is running all the same. Where it cannot tell (no
// permission), it says yes: starting another reaper would not help.
func Running(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR): // never started, or cleanly ended
		return false
	case errors.Is(err, unix.ECONNREFUSED): // ended without removing its socket
		return false
	case errors.Is(err, unix.EINVAL): // longer than a socket's path can be: nobody can listen there
		return false
	}
	return true // connected, or EAGAIN: the backlog is full
}

// Config says how a program is started.
type Config struct {
	StateDir string   // given to the reaper as --state-dir, unless empty
	Args     []string // further arguments
	Env      []string // the environment to choose from, as KEY=VALUE; nil is that of this process
}

// maxSocketPath is the longest path of a unix socket, in bytes: sun_path holds 108 (linux/un.h), of which the
// last is for the zero at its end.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// CheckStateDir says whether dir is too long a path for the reaper's socket in it to have an address.
func CheckStateDir(dir string) error {
	socket := len(state.New(dir).SocketPath())
	if socket <= maxSocketPath {
		return nil
	}
	clean := len(state.New(dir).Dir())
	return fmt.Errorf("use a state directory with a shorter path: that of %s has %d bytes, and %d are the most that leave room for the name of the reaper's socket",
		dir, clean, maxSocketPath-(socket-clean))
}

// Start starts the program as "<path> reaper --auto" and returns as soon as it was executed, without waiting for it to
// be ready. An error means that no process was started. One that could only fail is not: see [CheckStateDir].
//
// What is executed is the file that was checked, by its descriptor, whatever its path leads to by now.
//
// The reaper gets a session of its own, /dev/null as stdin, stdout and stderr, no other file descriptor,
// the directory /, no blocked signal, and of the environment what [Environ] keeps. It shares the calling thread's
// namespaces, so Start must not be called from a thread that is in a pod's.
//
// Start marks every descriptor of the calling process from 3 up close-on-exec, also those that were
// inherited without that mark. It never waits for the reaper: if the reaper exits before its parent does,
// it stays a zombie until then. No privilege is needed to start it.
func (p *Program) Start(cfg Config) error {
	if err := p.start(cfg); err != nil {
		return fmt.Errorf("start reaper: %w", err)
	}
	return nil
}

func (p *Program) start(cfg Config) error {
	args := []string{p.path, "reaper", "--auto"}
	if cfg.StateDir != "" {
		if err := CheckStateDir(cfg.StateDir); err != nil {
			return err
		}
		args = append(args, "--state-dir", cfg.StateDir)
	}
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer unix.Close(null)
	if err := closeOnExec(); err != nil {
		return err
	}
	unblock, err := unblockSignals()
	if err != nil {
		return err
	}
	defer unblock()
	// The kernel looks the path up in the child, which has the same descriptors, before it closes them.
	_, err = syscall.ForkExec(p.descriptor(), append(args, cfg.Args...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   Environ(env),
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("execute %s: %w", p.path, err)
	}
	return nil
}

// unblockSignals empties the signal mask of this thread, which a process started from it inherits (a
// blocked SIGTERM would make a reaper that cannot be stopped). The function returned puts the mask back.
func unblockSignals() (restore func(), err error) {
	runtime.LockOSThread()
	var none, old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &old); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("unblock signals: %w", err)
	}
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it worked a moment ago
		runtime.UnlockOSThread()
	}, nil
}
