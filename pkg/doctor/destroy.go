// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// destroy is what came of destroying a socket.
type destroy struct {
	err   error
	apart bool // in a network namespace made for it, rather than this process's own
}

// tryDestroy destroys a connection of its own, in a namespace made for it if that may be made.
func tryDestroy() destroy {
	var d destroy
	thread.Discard(func() {
		if d.apart = leave() == nil && loopbackUp() == nil; d.apart {
			d.err = inetdiag.Probe()
		}
	})
	if !d.apart {
		d.err = inetdiag.Probe()
	}
	return d
}

// modprobe loads what sock_diag needs where it is not built in.
const modprobe = "modprobe -a inet_diag tcp_diag on the host, and name both in /etc/modules-load.d/halfclose.conf: a container cannot load them"

func judgeDestroy(d destroy, p process) []Finding {
	f := Finding{Check: "sock-destroy"}
	switch {
	case d.err == nil:
		f.What = "SOCK_DESTROY works: it destroyed a connection made for it"
		if !d.apart {
			f.What += ", in this process's own network namespace"
		}
	case errors.Is(d.err, inetdiag.ErrUnsupported):
		f.Level = Fail
		f.What = "this kernel was built without CONFIG_INET_DIAG_DESTROY: nothing can be destroyed, only observed"
		f.Do = "use a kernel that has it, as those of Debian, Ubuntu, RHEL 9, COS and Talos; it is off in Docker Desktop and Azure Linux 3"
	case errors.Is(d.err, inetdiag.ErrDenied) && !p.effective.has(netAdmin):
		// sock_diag_destroy of net/core/sock_diag.c refuses the caller only where there is something to refuse.
		f.Level = Warn
		f.What = "SOCK_DESTROY is refused for want of CAP_NET_ADMIN; the kernel itself has it, or it would have said so"
		f.Do = grant(p, netAdmin)
	case errors.Is(d.err, inetdiag.ErrDenied):
		f.Level = Fail
		f.What = "SOCK_DESTROY is refused though CAP_NET_ADMIN is held here: " + d.err.Error()
		f.Do = "run it in the user namespace that owns the network namespace, and see whether a security module (SELinux, AppArmor) logged that it refused"
	case errors.Is(d.err, unix.ENOENT):
		f.Level = Fail
		f.What = "the kernel does not answer about TCP sockets: the module inet_diag or tcp_diag is not loaded"
		f.Do = modprobe
	case isRefused(d.err):
		f.Level = Fail
		f.What = fmt.Sprintf("the kernel cannot be asked about sockets, so nothing is found or destroyed: %v", d.err)
		f.Do = allowCalls("socket with AF_NETLINK")
	case errors.Is(d.err, unix.EPROTONOSUPPORT):
		f.Level = Fail
		f.What = fmt.Sprintf("the kernel has no sock_diag, or does not load it here: %v", d.err)
		f.Do = modprobe + "; or use a kernel with CONFIG_INET_DIAG"
	default:
		f.Level = Warn
		f.What = fmt.Sprintf("whether sockets can be destroyed could not be tried: %v", d.err)
		f.Do = "run it as root in a network namespace whose lo is up (ip link set lo up), with a seccomp profile that allows AF_NETLINK sockets"
	}
	return []Finding{f}
}

// isRefused reports whether something refuses the sockets by which the kernel is asked.
func isRefused(err error) bool {
	open, ok := errors.AsType[*inetdiag.OpenError](err)
	return ok && open.Refused()
}
