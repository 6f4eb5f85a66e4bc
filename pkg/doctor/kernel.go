// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// kernel is what the kernel is and has.
type kernel struct {
	release, machine string
	netnsCookie      error // of asking for SO_NETNS_COOKIE
	openat2          error // of calling openat2(2)
}

func inspectKernel() kernel {
	var k kernel
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		k.release, k.machine = unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])
	}
	k.netnsCookie = askNetnsCookie()
	k.openat2 = hostfs.Probe()
	return k
}

// askNetnsCookie asks for the cookie of this process's own network namespace. Any socket will do.
func askNetnsCookie() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

func judgeKernel(k kernel) []Finding {
	return []Finding{judgeRelease(k.release, k.machine), judgeNetnsCookie(k.netnsCookie), judgeOpenat2(k.openat2)}
}

// judgeRelease judges a release such as "6.18.5-amd64". What a kernel can do is tried, not taken from its
// number; but 4.12 is the first that tells a socket's cookie (SO_COOKIE).
func judgeRelease(release, machine string) Finding {
	f := Finding{Check: "kernel", What: "Linux " + release + " on " + machine}
	var major, minor int
	switch _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); {
	case err != nil:
		f.Level, f.What = Info, fmt.Sprintf("what kernel this is cannot be told: it calls itself %q", release)
		f.Do = "go by what follows, which was tried"
	case major < 4 || major == 4 && minor < 12:
		f.Level, f.What = Fail, f.What+": it does not tell the cookies of sockets, without which nothing is destroyed"
		f.Do = "use Linux 4.12 or later; if this is a sandbox with a kernel of its own (gVisor), halfclose belongs on its host and sees nothing inside"
	}
	return f
}

func judgeNetnsCookie(err error) Finding {
	f := Finding{Check: "netns-cookie", What: "namespaces have a cookie (SO_NETNS_COOKIE): none is taken for another"}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOPROTOOPT):
		f.Level, f.What = Warn, "this kernel gives namespaces no cookie: they are told apart by inode number alone, and those are reused"
		f.Do = "use Linux 5.14 or later"
	default:
		f.Level, f.What = Warn, fmt.Sprintf("namespaces cannot be asked for their cookie: %v", err)
		f.Do = "let the seccomp profile allow socket and getsockopt"
	}
	return f
}

func judgeOpenat2(err error) Finding {
	f := Finding{Check: "openat2", What: "openat2 works: a reaper in a container can use --host-root"}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS):
		f.Level, f.What = Info, "this kernel, or a seccomp filter, has no openat2: a reaper in a container cannot use --host-root"
		f.Do = "use Linux 5.6 or later, and a seccomp profile that allows openat2; on the host itself nothing need be done"
	default:
		f.Level, f.What = Info, fmt.Sprintf("openat2 is refused (%v), so that a reaper in a container cannot use --host-root", err)
		f.Do = "let the seccomp profile allow openat2; on the host itself nothing need be done"
	}
	return f
}
