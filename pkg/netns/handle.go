// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrNotNamespace means that the file at a path is not a network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// Handle is an open network namespace, which it pins until it is closed. Its methods may be called
// concurrently, but not with or after Close.
type Handle struct {
	ns netns.NsHandle
	id Identity // without the cookie
}

// Open opens the network namespace that an absolute path leads to; symbolic links are followed.
//
// It opens only namespaces, so a FIFO does not block it, and it has no effect on a device. The error is fs.ErrNotExist if
// the path leads nowhere, and ErrNotNamespace if it leads to another kind of file, such as the plain file below a
// namespace's mount if that mount is not visible here.
func Open(path string) (*Handle, error) {
	return open(path, hostfs.OpenPath)
}

// OpenOwn opens the network namespace that this process is in, called from within Do as well.
//
// It is the namespace of the threads that do not run the function of a Do. /proc/self/ns/net is that of the main thread
// only. For a process on the host, or in a container with the host's network, it is the host's own.
func OpenOwn() (*Handle, error) {
	type opened struct {
		h   *Handle
		err error
	}
	// A new goroutine runs on a thread in the process's own namespace: the threads of a Do are locked.
	ch := make(chan opened)
	go func() {
		h, err := Open(threadPath)
		ch <- opened{h, err}
	}()
	o := <-ch
	return o.h, o.err
}

// threadPath leads to the network namespace of the calling thread.
const threadPath = "/proc/thread-self/ns/net"

// open opens a path by an O_PATH descriptor, which has no effect on the file.
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

// needs returns the missing capability for an error of opening a path, "" if it is unknown.
func needs(path string, err error) string {
	if errors.Is(err, fs.ErrPermission) && strings.HasPrefix(path, "/proc/") {
		return " (needs CAP_SYS_PTRACE)"
	}
	return ""
}

// fromPathFD opens the network namespace of an O_PATH descriptor.
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

// checkType returns ErrNotNamespace for another type of namespace (ioctl_nsfs(2), NS_GET_NSTYPE, Linux 4.11).
func checkType(ns netns.NsHandle) error {
	kind, err := unix.IoctlRetInt(int(ns), unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("get the type of the namespace: %w", err)
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

// describe names the kind of a file that is not a namespace, and the likely cause of a plain file.
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

// Close closes the namespace. Closing again does nothing.
func (h *Handle) Close() error {
	if !h.ns.IsOpen() {
		return nil
	}
	if err := h.ns.Close(); err != nil {
		h.ns = netns.None() // Linux frees the descriptor even if close(2) fails
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}

// FD returns the file descriptor of the namespace, which Close closes.
func (h *Handle) FD() int { return int(h.ns) }

// MountedSince returns a time before which no mount led to the namespace at the opened path. ok is false if that is no mount,
// as /proc/PID/ns/net: the kernel drops the file of a namespace that is neither mounted nor open, and creates it again.
func (h *Handle) MountedSince() (since time.Time, ok bool, err error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.ns))
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read the name of an open network namespace: %w", err)
	}
	if strings.HasPrefix(name, "net:[") {
		return time.Time{}, false, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h.ns), &st); err != nil {
		return time.Time{}, false, fmt.Errorf("stat an open network namespace: %w", err)
	}
	return time.Unix(st.Ctim.Unix()), true, nil
}

// Stat returns the identity without the cookie. It needs no privilege beyond what Open needed.
func (h *Handle) Stat() Identity { return h.id }

// Identify returns the identity with the cookie. It enters the namespace, which needs CAP_SYS_ADMIN. On a kernel without
// SO_NETNS_COOKIE (before 5.14) the cookie is 0.
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

// cookie returns the cookie of the calling thread's network namespace, from a socket of any family.
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
