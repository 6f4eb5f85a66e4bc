// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/capabilities"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/owners"
)

// table is a descriptor table: that of a process, or that of one of its threads if tid is not 0.
type table struct{ pid, tid int }

func (o *Owner) table() table {
	if o.TID == o.PID {
		return table{pid: o.PID}
	}
	return table{o.PID, o.TID}
}

// dir returns the directory of the table below /proc.
func (t table) dir() string {
	if t.tid == 0 {
		return "/proc/" + strconv.Itoa(t.pid) + "/fd"
	}
	return "/proc/" + strconv.Itoa(t.pid) + "/task/" + strconv.Itoa(t.tid) + "/fd"
}

// identity identifies a socket by cookies, which are unique since the boot. netns is 0 if the kernel has no cookies of network
// namespaces.
type identity struct{ netns, cookie uint64 }

// errNoDescriptor means that a descriptor is of another file, or does not exist.
var errNoDescriptor = errors.New("process has no such descriptor")

// obstacleError is an error with its Obstacle.
type obstacleError struct {
	obstacle Obstacle
	err      error
}

func (e *obstacleError) Error() string { return e.err.Error() }

func (e *obstacleError) Unwrap() error { return e.err }

// tables opens descriptor tables, each once. A job has its own on its thread, and closes it at its end.
type tables struct {
	open    map[table]*openTable
	dirents []byte
	names   []string
	link    [64]byte
}

// openTable is a table that a job has opened.
type openTable struct {
	pidfd   int
	started uint64 // the process's start time, 0 if unknown
	err     error
	// sockets are the descriptors of the sockets that a scan has searched for, by inode; nil before the scan.
	sockets map[uint32]int
	scanErr error
}

func (r *tables) close() {
	for _, o := range r.open {
		if o.pidfd >= 0 {
			_ = unix.Close(o.pidfd)
		}
	}
	r.open = nil
}

// pidfdThread is PIDFD_THREAD (include/uapi/linux/pidfd.h, Linux 6.9).
const pidfdThread = unix.O_EXCL

// table opens a table.
func (r *tables) table(t table) *openTable {
	if o, ok := r.open[t]; ok {
		return o
	}
	if r.open == nil {
		r.open = make(map[table]*openTable)
	}
	o := &openTable{pidfd: -1}
	r.open[t] = o
	id, flags := t.pid, 0
	if t.tid != 0 {
		id, flags = t.tid, pidfdThread
	}
	o.pidfd, o.err = unix.PidfdOpen(id, flags)
	if o.err != nil {
		o.pidfd, o.err = -1, openError(t, o.err)
		return o
	}
	o.started, _ = owners.StartTime("/proc", t.pid)
	return o
}

func openError(t table, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH): // it has exited, or the ID is of a thread that is not a process
		return errNoDescriptor
	case errors.Is(err, unix.ENOSYS):
		return &obstacleError{Kernel, fmt.Errorf("pidfd_open needs Linux 5.3: %w", err)}
	case errors.Is(err, unix.EINVAL) && t.tid != 0:
		return &obstacleError{Kernel, fmt.Errorf("pidfd_open of a thread needs Linux 6.9: %w", err)}
	}
	return refused("pidfd_open", err)
}

// refused returns the error of a system call on another process.
func refused(call string, err error) error {
	if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) && !hasPtrace() {
		return &obstacleError{NoPtrace, fmt.Errorf("%s: %w: needs CAP_SYS_PTRACE", call, err)}
	}
	return &obstacleError{Refused, fmt.Errorf("%s: %w", call, err)}
}

// hasPtrace reports whether the calling thread has CAP_SYS_PTRACE, or may have it.
func hasPtrace() bool {
	missing, err := capabilities.Missing(capability.CAP_SYS_PTRACE)
	return err != nil || len(missing) == 0 // after an error, do not report a reason that may be wrong
}

// duplicate returns a duplicate of the process's descriptor if it is of the wanted socket, otherwise errNoDescriptor. The
// caller calls closeDuplicate after a few system calls: while it is open, the owner's close does not close the socket.
func (o *openTable) duplicate(number int, want identity) (fd int, err error) {
	// A child of this process would inherit the duplicate until it calls execve. If it had the last reference to a socket
	// with SO_LINGER, execve would block, and os/exec with it.
	syscall.ForkLock.RLock()
	defer func() {
		if err != nil {
			syscall.ForkLock.RUnlock()
		}
	}()
	fd, err = unix.PidfdGetfd(o.pidfd, number, 0)
	switch {
	case err == nil:
	case errors.Is(err, unix.EBADF), errors.Is(err, unix.ESRCH):
		return -1, errNoDescriptor
	case errors.Is(err, unix.ENOSYS):
		return -1, &obstacleError{Kernel, fmt.Errorf("pidfd_getfd needs Linux 5.6: %w", err)}
	default:
		return -1, refused("pidfd_getfd", err)
	}
	if !isSocket(fd, want) {
		_ = unix.Close(fd)
		return -1, errNoDescriptor
	}
	return fd, nil
}

// closeDuplicate closes a duplicate. It blocks if the duplicate is the last reference to a socket with SO_LINGER.
func closeDuplicate(fd int) {
	_ = unix.Close(fd)
	syscall.ForkLock.RUnlock()
}

func isSocket(fd int, want identity) bool {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil || cookie != want.cookie {
		return false
	}
	if want.netns == 0 {
		return true
	}
	netns, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err == nil && netns == want.netns
}

// find searches for sockets in the table, with one scan for all of them.
func (r *tables) find(t table, o *openTable, inodes map[uint32]struct{}) {
	o.sockets = make(map[uint32]int)
	o.scanErr = r.scan(t, func(number int, inode uint32) bool {
		if _, ok := inodes[inode]; ok {
			if _, ok := o.sockets[inode]; !ok { // the lowest number: duplicates tend to be closed first
				o.sockets[inode] = number
			}
		}
		return len(o.sockets) < len(inodes)
	})
}

// scan calls visit with each socket of the table until it returns false.
func (r *tables) scan(t table, visit func(number int, inode uint32) bool) error {
	dir, err := hostfs.Retry(func() (int, error) {
		return unix.Open(t.dir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return tableError(err)
	}
	defer unix.Close(dir)
	if r.dirents == nil {
		r.dirents = make([]byte, 8<<10)
	}
	for {
		n, err := hostfs.Retry(func() (int, error) { return unix.ReadDirent(dir, r.dirents) })
		if err != nil {
			return tableError(err)
		}
		if n == 0 {
			return nil
		}
		_, _, r.names = unix.ParseDirent(r.dirents[:n], -1, r.names[:0])
		for _, name := range r.names {
			n, err := unix.Readlinkat(dir, name, r.link[:])
			if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
				return tableError(err)
			}
			if err != nil { // closed since ReadDirent
				continue
			}
			inode, ok := socketInode(r.link[:n])
			if !ok {
				continue
			}
			number, err := strconv.Atoi(name)
			if err == nil && !visit(number, inode) {
				return nil
			}
		}
	}
}

func tableError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return errNoDescriptor
	}
	return refused("list descriptors", err)
}

// socketInode returns N of "socket:[N]".
func socketInode(link []byte) (uint32, bool) {
	digits, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok || len(digits) < 2 || digits[len(digits)-1] != ']' {
		return 0, false
	}
	var n uint64
	for _, c := range digits[:len(digits)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > 1<<32-1 {
			return 0, false
		}
	}
	return uint32(n), true
}

// lingers reports whether closing the socket may block.
func lingers(fd int) (bool, error) {
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	return l.Onoff != 0 && l.Linger != 0, nil
}

// read reads the options.
func (v *values) read(fd int) error {
	for o := range optionCount {
		level, name := o.names()
		n, err := unix.GetsockoptInt(fd, level, name)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		v[o] = int32(n)
	}
	return nil
}

func setOption(fd int, o option, value int32) error {
	level, name := o.names()
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, int(value)))
}

// arm sets the options to the armed values. If one is refused, it restores the others, and reports whether that was possible.
func arm(fd int, saved, armed *values) (restored bool, err error) {
	for _, o := range armingOrder() {
		if err := setOption(fd, o, armed[o]); err != nil {
			return restore(fd, saved, armed) == nil, err
		}
	}
	return false, nil
}

// restore restores the options that still have their armed values.
func restore(fd int, saved, armed *values) error {
	var now values
	if err := now.read(fd); err != nil {
		return err
	}
	return setBack(&now, saved, armed, func(o option, value int32) error { return setOption(fd, o, value) })
}
