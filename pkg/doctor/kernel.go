// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	halfclosed "github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// kernel is the kernel's version and features.
type kernel struct {
	release, machine string
	netnsCookie      error // of SO_NETNS_COOKIE
	openat2          error // of openat2(2)
}

func inspectKernel() kernel {
	var k kernel
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		k.release, k.machine = unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])
	}
	k.netnsCookie = tryNetnsCookie()
	k.openat2 = hostfs.Probe()
	return k
}

// tryNetnsCookie reads the cookie of this process's network namespace, for which any socket will do.
func tryNetnsCookie() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

func reportKernel(k kernel) []Finding {
	return []Finding{reportRelease(k.release, k.machine), reportNetnsCookie(k.netnsCookie), reportOpenat2(k.openat2)}
}

// reportRelease reports a release such as "6.18.5-amd64". Other features are tried instead of derived from the number; but
// SO_COOKIE, the cookie of a socket, requires 4.12.
func reportRelease(release, machine string) Finding {
	f := Finding{Check: "kernel", What: "Linux " + release + " on " + machine}
	var major, minor int
	switch _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); {
	case err != nil:
		f.Level, f.What = Info, fmt.Sprintf("cannot parse the kernel's release %q", release)
		f.Do = "rely on the following checks, which try each feature"
	case major < 4 || major == 4 && minor < 12:
		f.Level, f.What = Fail, f.What+": it has no socket cookies, without which nothing is destroyed"
		f.Do = "use Linux 4.12 or later; if this is a sandbox with its own kernel (gVisor), run halfclose on its host, where it sees none of the sandbox's sockets"
	}
	return f
}

func reportNetnsCookie(err error) Finding {
	f := Finding{Check: "netns-cookie", What: "SO_NETNS_COOKIE works: reused namespace inodes are detected"}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOPROTOOPT):
		f.Level, f.What = Warn, "this kernel has no SO_NETNS_COOKIE: namespaces are distinguished by inode number, which is reused, and the time of their mount"
		f.Do = "use Linux 5.14 or later"
	default:
		f.Level, f.What = Warn, fmt.Sprintf("SO_NETNS_COOKIE fails: %v", err)
		f.Do = "allow socket and getsockopt in the seccomp profile"
	}
	return f
}

func reportOpenat2(err error) Finding {
	f := Finding{Check: "openat2", What: "openat2 works: a reaper in a container can use --host-root"}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS):
		f.Level, f.What = Info, "the kernel or a seccomp filter has no openat2: a reaper in a container cannot use --host-root"
		f.Do = "use Linux 5.6 or later, and a seccomp profile that allows openat2; nothing on the host itself"
	default:
		f.Level, f.What = Info, fmt.Sprintf("openat2 is refused (%v): a reaper in a container cannot use --host-root", err)
		f.Do = "allow openat2 in the seccomp profile; nothing on the host itself"
	}
	return f
}

// enterNewNetns moves the calling thread, which thread.Discard created, to a new network namespace. It requires
// CAP_SYS_ADMIN.
func enterNewNetns() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("create a network namespace: %w", err)
	}
	return nil
}

// loopbackUp sets lo up in the calling thread's namespace (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// destroy is the result of destroying a socket.
type destroy struct {
	err   error
	ownNS bool // in a network namespace created for it, instead of this process's
}

// tryDestroy destroys a connection created for it, if possible in a network namespace created for it.
func tryDestroy() destroy {
	var d destroy
	thread.Discard(func() {
		if d.ownNS = enterNewNetns() == nil && loopbackUp() == nil; d.ownNS {
			d.err = inetdiag.Probe()
		}
	})
	if !d.ownNS {
		d.err = inetdiag.Probe()
	}
	return d
}

// modprobe is how to load the modules of sock_diag.
const modprobe = "modprobe -a inet_diag tcp_diag on the host, and list both in /etc/modules-load.d/halfclose.conf: a container cannot load them"

func reportDestroy(d destroy, p process) []Finding {
	f := Finding{Check: "sock-destroy"}
	switch {
	case d.err == nil:
		f.What = "SOCK_DESTROY works: it destroyed a connection created for this test"
		if !d.ownNS {
			f.What += ", in this process's own network namespace"
		}
	case errors.Is(d.err, inetdiag.ErrUnsupported):
		f.Level = Fail
		f.What = "this kernel was built without CONFIG_INET_DIAG_DESTROY: nothing can be destroyed, only observed"
		f.Do = "use a kernel with it, such as those of Debian, Ubuntu, RHEL 9, COS and Talos; Docker Desktop and Azure Linux 3 have none"
	case errors.Is(d.err, inetdiag.ErrDenied) && !p.effective.has(capability.CAP_NET_ADMIN):
		// sock_diag_destroy of net/core/sock_diag.c checks the privilege only if the kernel supports SOCK_DESTROY.
		f.Level = Warn
		f.What = "SOCK_DESTROY is refused without CAP_NET_ADMIN; the kernel supports it, or the error would differ"
		f.Do = grant(p, capability.CAP_NET_ADMIN)
	case errors.Is(d.err, inetdiag.ErrDenied):
		f.Level = Fail
		f.What = "SOCK_DESTROY is refused although CAP_NET_ADMIN is held here: " + d.err.Error()
		f.Do = "run it in the user namespace that owns the network namespace, and check the logs of security modules (SELinux, AppArmor) for a denial"
	case errors.Is(d.err, inetdiag.ErrNoTCP):
		f.Level = Fail
		f.What = "the kernel does not answer about TCP sockets: the module inet_diag or tcp_diag is not loaded"
		f.Do = modprobe
	case isRefused(d.err):
		f.Level = Fail
		f.What = fmt.Sprintf("the kernel's sockets cannot be queried, so nothing is found or destroyed: %v", d.err)
		f.Do = allowCalls("socket with AF_NETLINK")
	case errors.Is(d.err, unix.EPROTONOSUPPORT):
		f.Level = Fail
		f.What = fmt.Sprintf("the kernel has no sock_diag, or does not load it here: %v", d.err)
		f.Do = modprobe + "; or use a kernel with CONFIG_INET_DIAG"
	default:
		f.Level = Warn
		f.What = fmt.Sprintf("SOCK_DESTROY could not be tried: %v", d.err)
		f.Do = "run it as root in a network namespace with lo up (ip link set lo up), with a seccomp profile that allows AF_NETLINK sockets"
	}
	return []Finding{f}
}

// isRefused reports whether the netlink sockets of sock_diag are refused.
func isRefused(err error) bool {
	open, ok := errors.AsType[*inetdiag.OpenError](err)
	return ok && open.Refused()
}

// bpf is whether BPF programs can be used.
type bpf struct {
	btf      error  // of finding the kernel's BTF
	load     error  // of loading the bpf finder's programs
	lockdown string // as in kernel_lockdown(7): none, integrity, confidentiality; "" if unknown
}

func inspectBPF() bpf {
	_, btf := os.Stat("/sys/kernel/btf/vmlinux")
	b := bpf{btf: btf, load: loadPrograms()}
	if text, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		b.lockdown = parseLockdown(string(text))
	}
	return b
}

// parseLockdown returns the word in brackets of "none [integrity] confidentiality".
func parseLockdown(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// loadPrograms loads the bpf finder's programs and unloads them. They watch no namespace.
func loadPrograms() error {
	p, err := halfclosed.Load(halfclosed.Options{MaxSockets: 1, MaxNamespaces: 1})
	if err != nil {
		return err
	}
	return p.Close()
}

// useSockdiag is the recommendation if the bpf finder does not work.
const useSockdiag = "nothing if the higher cost is acceptable: the sockdiag finder finds the same sockets"

func reportBPF(b bpf, p process) []Finding {
	types := Finding{Check: "btf", What: "the kernel has BTF (/sys/kernel/btf/vmlinux)"}
	if b.btf != nil {
		types.Level, types.Do = Info, useSockdiag
		types.What = fmt.Sprintf("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): %v", b.btf)
	}
	programs := Finding{Check: "bpf", What: "the bpf finder's programs can be loaded"}
	if b.load != nil {
		programs.Level, programs.Do = Info, useSockdiag
		programs.What = fmt.Sprintf("the bpf finder's programs cannot be loaded: %s (%v)", bpfReason(b, p), b.load)
	}
	return []Finding{types, programs}
}

// bpfReason returns why a program cannot be loaded.
func bpfReason(b bpf, p process) string {
	missing := p.effective.lacks(capability.CAP_BPF, capability.CAP_PERFMON)
	switch {
	case errors.Is(b.load, unix.ENOSYS):
		return "the kernel was built without CONFIG_BPF_SYSCALL"
	case errors.Is(b.load, unix.EINVAL):
		return "the kernel does not support programs of this type"
	case !errors.Is(b.load, unix.EPERM):
		return "the kernel refuses"
	case p.userNS == elsewhere:
		return "they require capabilities in the host's user namespace"
	case len(missing) > 0 && !p.effective.has(capability.CAP_SYS_ADMIN):
		return areMissing(missing) + " here"
	case b.lockdown == "confidentiality":
		return "lockdown is confidentiality, and they read kernel memory"
	case p.seccomp != 0:
		return "the seccomp filter refuses it"
	}
	return "a security module or lockdown refuses it"
}
