// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrNotNamespace says that there is something at a path, but no network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// Handle is an open network namespace, which it pins until it is closed. Its methods may be called
// concurrently, but not with or after Close.
type Handle struct {
	ns netns.NsHandle
	id Identity // without the cookie
}

// Open opens the network namespace that an absolute path leads to; symbolic links are followed.
//
// Nothing is opened but a namespace: a FIFO does not block and a device notices nothing. The error is
// fs.ErrNotExist when there is nothing at the path, and ErrNotNamespace when it is something else, such as
// the plain file that a namespace's mount hides where the mount is not visible.
func Open(path string) (*Handle, error) {
	return open(path, hostfs.OpenPath)
}

// Own opens the network namespace that this process is in, called from within Do as well.
//
// It is the namespace of the threads that are not in a Do, and not /proc/self/ns/net: that is the main
// thread's alone. For a process started on the host, or in a container with the host's network, it is the
// host's own.
func Own() (*Handle, error) {
	type opened struct {
		h   *Handle
		err error
	}
	// A new goroutine runs on a thread of the process's own namespace: those in a Do are locked.
	ch := make(chan opened)
	go func() {
		h, err := Open(threadPath)
		ch <- opened{h, err}
	}()
	o := <-ch
	return o.h, o.err
}

// threadPath leads to the namespace that the calling thread is in.
const threadPath = "/proc/thread-self/ns/net"

// open opens a path by way of an O_PATH descriptor, which has no effect on what is there.
func open(path string, openPath func(string) (int, error)) (*Handle, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open network namespace %q: path is not absolute", path)
	}
	fd, err := openPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w%s", &fs.PathError{Op: "open", Path: path, Err: err}, needs(path, err))
	}
	defer unix.Close(fd)
	h, err := fromPathFD(fd)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return h, nil
}

// needs says which capability it takes where a path must not be opened, "" if that is not known.
func needs(path string, err error) string {
	if errors.Is(err, fs.ErrPermission) && strings.HasPrefix(path, "/proc/") {
		return " (needs CAP_SYS_PTRACE)"
	}
	return ""
}

// fromPathFD opens what an O_PATH descriptor refers to, if that is a network namespace.
func fromPathFD(fd int) (*Handle, error) {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(fd, &fsys); err != nil {
		return nil, fmt.Errorf("statfs: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if int64(fsys.Type) != unix.NSFS_MAGIC {
		return nil, fmt.Errorf("%w: it is %s", ErrNotNamespace, describe(st.Mode))
	}
	ns, err := netns.GetFromPath(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("reopen: %w", err)
	}
	h := &Handle{ns: ns, id: Identity{Dev: uint64(st.Dev), Inode: st.Ino}} // 32 bits wide on mips
	if err := checkType(ns); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// checkType asks a namespace for its type (ioctl_nsfs(2), NS_GET_NSTYPE, Linux 4.11).
func checkType(ns netns.NsHandle) error {
	kind, err := unix.IoctlRetInt(int(ns), unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("ask for the type of namespace: %w", err)
	}
	if kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: it is a namespace of another type (%s)", ErrNotNamespace, typeName(kind))
	}
	return nil
}

// typeName names a namespace type of <linux/sched.h> as /proc/PID/ns does.
func typeName(kind int) string {
	switch kind {
	case unix.CLONE_NEWNS:
		return "mnt"
	case unix.CLONE_NEWUTS:
		return "uts"
	case unix.CLONE_NEWIPC:
		return "ipc"
	case unix.CLONE_NEWUSER:
		return "user"
	case unix.CLONE_NEWPID:
		return "pid"
	case unix.CLONE_NEWCGROUP:
		return "cgroup"
	case unix.CLONE_NEWTIME:
		return "time"
	}
	return fmt.Sprintf("CLONE_ flag %#x", kind)
}

// describe says what is in the place of a namespace, and for a plain file why that is likely.
func describe(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a plain file: either the namespace is unmounted, or its mount is not visible here and the " +
			"directory must be mounted with propagation (rslave, in Kubernetes mountPropagation: HostToContainer)"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "something else"
}

// Close lets go of the namespace. It may be called again.
func (h *Handle) Close() error {
	if !h.ns.IsOpen() {
		return nil
	}
	if err := h.ns.Close(); err != nil {
		h.ns = netns.None() // Linux frees the descriptor whatever close(2) returns
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}

// FD returns the file descriptor that holds the namespace; it is the Handle's to close.
func (h *Handle) FD() int { return int(h.ns) }

// Stat returns the identity without the cookie. It needs no privilege beyond what Open needed.
func (h *Handle) Stat() Identity { return h.id }

// Identify returns the identity with the cookie, which it enters the namespace to ask for. On a kernel
// without SO_NETNS_COOKIE (before 5.14) the cookie is 0.
func (h *Handle) Identify() (Identity, error) {
	id := h.id
	err := h.Do(func() (err error) {
		id.Cookie, err = cookie()
		return err
	})
	if err != nil {
		return Identity{}, fmt.Errorf("identify network namespace: %w", err)
	}
	return id, nil
}

// cookie returns that of the namespace that the calling thread is in. Any socket will do.
func cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return 0, fmt.Errorf("get SO_NETNS_COOKIE: %w", err)
	}
	return c, nil
}
