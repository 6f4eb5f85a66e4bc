// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supervisor decides about the system calls of a program and its children. It ends when the last of them has exited.
type Supervisor struct {
	listener *os.File
	child    int           // the process that Start started
	started  chan struct{} // closed when the child executes the program
	done     chan struct{} // closed when the supervisor ends
	calls    []uintptr

	mu     sync.Mutex
	faults []*Injected
	err    error
}

// startPatience bounds the time in which a started process installs its filter.
const startPatience = 2 * time.Minute

// Start starts a command, and supervises these system calls of it. Its standard streams and files are those of cmd. The
// command must be killed before this process exits: without a supervisor the calls fail with ENOSYS.
//
// Faults are in effect from the first call of the program on.
func Start(cmd *exec.Cmd, calls []uintptr, faults ...Fault) (*Supervisor, error) {
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	if !slices.Contains(calls, unix.SYS_EXECVE) {
		calls = append(slices.Clone(calls), unix.SYS_EXECVE)
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(slices.Clone(cmd.Env), envCalls+"="+formatNumbers(calls), envProgram+"="+cmd.Path)
	cmd.Path = "/proc/self/exe"
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	listener, err := takeListener(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		return nil, fmt.Errorf("supervise %s: %w", cmd.Args[0], err)
	}
	s := &Supervisor{
		listener: listener, child: cmd.Process.Pid, calls: calls, started: make(chan struct{}), done: make(chan struct{}),
	}
	for _, f := range faults {
		s.Inject(f)
	}
	go s.run()
	return s, nil
}

// takeListener duplicates the listener of a process that installs its filter.
func takeListener(pid int) (*os.File, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	exited := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}} //nolint:gosec // a descriptor
	for end := time.Now().Add(startPatience); time.Now().Before(end); {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			if target, _ := os.Readlink(link); target != "anon_inode:seccomp notify" {
				continue
			}
			number, err := strconv.Atoi(filepath.Base(link))
			if err != nil {
				return nil, err
			}
			fd, err := unix.PidfdGetfd(process, number, 0)
			if err != nil {
				return nil, os.NewSyscallError("pidfd_getfd", err)
			}
			return os.NewFile(uintptr(fd), "seccomp listener"), nil
		}
		if n, _ := unix.Poll(exited, 1); n > 0 {
			return nil, errors.New("the process has exited without a filter: does main call inject.Main first?")
		}
	}
	return nil, errors.New("the process has not installed its filter: does main call inject.Main first?")
}

// Inject adds a fault. Of several that select a call the first has its effect, and those before it that only pass. The calls
// must be among those of Start: [Supervisor.Err] has an error about others.
func (s *Supervisor) Inject(f Fault) *Injected {
	for _, nr := range f.Calls {
		if !slices.Contains(s.calls, nr) {
			s.note(fmt.Errorf("inject a fault: the program was started without notifications of %s", name(nr)))
		}
	}
	i := &Injected{fault: f, lifted: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, i)
	return i
}

// Done returns a channel that is closed when the program and its children have exited.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Err returns why the supervisor could not apply a fault, nil if it could apply all.
func (s *Supervisor) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Supervisor) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

// notification is struct seccomp_notif (include/uapi/linux/seccomp.h).
type notification struct {
	id           uint64
	tid          uint32
	flags        uint32
	number       int32
	architecture uint32
	instruction  uint64
	args         [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

func (s *Supervisor) ioctl(request uintptr, argument unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, s.listener.Fd(), request, uintptr(argument))
	return errno
}

// run receives notifications until no process has the filter.
func (s *Supervisor) run() {
	var waiting sync.WaitGroup // calls that get their response later
	defer close(s.done)
	defer s.listener.Close()
	defer waiting.Wait()
	for {
		ready := []unix.PollFd{{Fd: int32(s.listener.Fd()), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		_, err := unix.Poll(ready, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			s.note(os.NewSyscallError("poll", err))
			return
		case ready[0].Revents&unix.POLLIN == 0:
			return // POLLHUP: the last process has exited
		}
		var n notification
		switch errno := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); errno {
		case 0:
			s.decide(n, &waiting)
		case unix.ENOENT, unix.EINTR: // the caller was killed
		default:
			s.note(os.NewSyscallError("receive a notification", errno))
			return
		}
	}
}

// decide responds to a notification, or lets a goroutine respond.
func (s *Supervisor) decide(n notification, waiting *sync.WaitGroup) {
	c := &Call{Number: uintptr(n.number), Args: n.args, TID: int(n.tid)}
	c.PID = processOf(c.TID)
	if !s.hasStarted() {
		if c.Number == unix.SYS_EXECVE && c.PID == s.child {
			close(s.started)
		}
		s.respond(response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
		return
	}
	i := s.selectFault(c)
	if i == nil {
		s.respond(response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
		return
	}
	switch e := i.fault.Effect; e.kind {
	case fail:
		s.respond(response{id: n.id, errno: -int32(e.errno)}) //nolint:gosec // below 4096
	case kill:
		if err := unix.Kill(c.PID, unix.SIGKILL); err != nil {
			s.note(fmt.Errorf("kill process %d: %w", c.PID, err))
		}
	case short:
		waiting.Go(func() {
			value, err := c.transfer(e.bytes, func() bool { return s.isWaiting(n.id) })
			r := response{id: n.id, value: value}
			if errno, ok := errors.AsType[unix.Errno](err); ok {
				r = response{id: n.id, errno: -int32(errno)} //nolint:gosec // below 4096
			} else if err != nil {
				s.note(fmt.Errorf("cut %s short: %w", c, err))
				r = response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			}
			s.respond(r)
		})
	case late, hang:
		waiting.Go(func() { s.delay(n.id, i, e) })
	}
}

// delay responds when the delay is over, or when the fault is lifted or the caller is killed.
func (s *Supervisor) delay(id uint64, i *Injected, e Effect) {
	var end <-chan time.Time
	if e.kind == late {
		timer := time.NewTimer(e.delay)
		defer timer.Stop()
		end = timer.C
	}
	check := time.NewTicker(callerInterval)
	defer check.Stop()
	for s.isWaiting(id) {
		select {
		case <-end:
		case <-i.lifted:
		case <-check.C:
			continue
		}
		s.respond(response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
		return
	}
}

// callerInterval is the interval of checks whether the caller of a delayed call was killed.
const callerInterval = 50 * time.Millisecond

// isWaiting reports whether the caller of a notification still waits.
func (s *Supervisor) isWaiting(id uint64) bool {
	return s.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == 0
}

func (s *Supervisor) respond(r response) {
	errno := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	if errno != 0 && errno != unix.ENOENT { // the caller was killed
		s.note(os.NewSyscallError("respond to a notification", errno))
	}
}

func (s *Supervisor) hasStarted() bool {
	select {
	case <-s.started:
		return true
	default:
		return false
	}
}

// selectFault returns the fault with an effect on the call, nil for none.
func (s *Supervisor) selectFault(c *Call) *Injected {
	s.mu.Lock()
	faults := slices.Clone(s.faults)
	s.mu.Unlock()
	for _, i := range faults {
		if i.applies(c) && i.fault.Effect.kind != pass {
			return i
		}
	}
	return nil
}

// processOf returns the process of a thread, 0 if it has exited.
func processOf(tid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:\t"))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	pid, _ := strconv.Atoi(string(number))
	return pid
}
