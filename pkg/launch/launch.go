// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package launch starts the shared reaper when none runs.
//
// The plugin calls [Running], and starts its [Sibling] if no reaper runs. The runtime waits until every process has closed
// the plugin's stdout and stderr, and kills the processes in the plugin's process group and cgroup. So the reaper inherits
// nothing: [Program.Start] drops everything that a parent can drop before the exec, and the reaper drops the rest with
// package detach.
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

// Running reports whether a reaper listens on the unix socket at path. It does not block and sends nothing: a reaper that
// is too busy to accept counts as running. So does one that cannot be reached for lack of permission, since starting
// another would not help. If this process has too few descriptors to find out, none counts as running: the start reports
// the lack, or the started reaper exits if another one runs.
func Running(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR): // not started, or exited cleanly
		return false
	case errors.Is(err, unix.ECONNREFUSED): // exited without removing its socket
		return false
	case errors.Is(err, unix.EINVAL): // longer than the path of a socket can be
		return false
	}
	return true // connected, or EAGAIN: the backlog is full
}

// Config is how to start a program.
type Config struct {
	StateDir string   // the reaper's --state-dir, unless ""
	Args     []string // further arguments
	Env      []string // the environment before Environ, as KEY=VALUE; nil for that of this process
}

// maxSocketPath is the maximum length of a unix socket's path in bytes: sun_path has 108 (linux/un.h), the last of which is
// the terminating zero.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// CheckStateDir returns an error if the path of the reaper's socket in dir would be too long.
func CheckStateDir(dir string) error {
	socket := len(state.New(dir).SocketPath())
	if socket <= maxSocketPath {
		return nil
	}
	clean := len(state.New(dir).Dir())
	return fmt.Errorf("use a state directory with a shorter path: %s has %d bytes, and the name of the reaper's socket leaves room for %d",
		dir, clean, maxSocketPath-(socket-clean))
}

// Start starts the program as "<path> reaper --auto". It returns after the exec, before the reaper is ready. An error means
// that no process was started. It starts none that would fail because of [CheckStateDir].
//
// It executes the checked file by its descriptor, even if the path has been replaced since.
//
// The reaper gets its own session, /dev/null as stdin, stdout and stderr, no other file descriptor, the directory /, no
// blocked signal, and the environment variables that [Environ] keeps. It shares the calling thread's namespaces, so the
// thread must not be in a pod's.
//
// Start marks every descriptor of the calling process from 3 up as close-on-exec, including inherited ones. It does not
// wait for the reaper: if the reaper exits before its parent does, it is a zombie until then. It requires no privilege.
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
	// The kernel resolves the path in the child, which still has the descriptors.
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

// unblockSignals clears the signal mask of this thread, which a child process inherits: with SIGTERM blocked the reaper
// could not be stopped. restore resets the mask.
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
