// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// reach is what came of trying what the reaper does with network namespaces and with processes.
type reach struct {
	enter  error // of entering a network namespace
	access owners.Access
	err    error // why the processes have not been tried
}

// tryReach tries: a capability that is held proves nothing where a seccomp filter or a security module refuses.
func tryReach(ctx context.Context) (r reach) {
	r.enter = netns.TryEnter()
	r.access, r.err = owners.NewProc("/proc").TryAccess(ctx)
	return r
}

// allowCalls says how to lift a refusal that is no missing capability.
func allowCalls(calls string) string {
	return "allow " + calls + " in the seccomp profile (Kubernetes: seccompProfile, docker and podman: --security-opt seccomp=, systemd: SystemCallFilter=), " +
		"and see whether a security module (SELinux, AppArmor) logged that it refused"
}

func judgeReach(r reach, p process) []Finding {
	return []Finding{judgeEntry(r.enter, p), judgeOwners(r, p), judgePeers(r, p)}
}

func judgeEntry(err error, p process) Finding {
	f := Finding{Check: "netns-entry", What: "network namespaces can be entered: this process entered its own"}
	if err == nil {
		return f
	}
	f.Level, f.Do = Fail, allowCalls("setns")
	f.What = fmt.Sprintf("no network namespace can be entered, so no pod's sockets can be destroyed: %v", err)
	if !p.effective.has(sysAdmin) {
		f.Do = grant(p, sysAdmin)
	}
	return f
}

func judgeOwners(r reach, p process) Finding {
	f := Finding{Check: "owners", What: fmt.Sprintf("the owners of sockets can be found: the descriptors of all %d visible processes can be listed", r.access.Processes)}
	if g, untried := notTried(f.Check, r); untried {
		return g
	}
	d := r.access.List
	if d.Count == 0 {
		return f
	}
	f.Level = Warn
	f.What = fmt.Sprintf("the owners of some sockets cannot be found by the sockdiag finder: the descriptors of %d of %d visible processes cannot be listed (%v: %v); rules with commands spare their sockets",
		d.Count, r.access.Processes, d.First, d.Err)
	f.Do = accessAdvice(p, "readlink and openat", sysPtrace, dacRead)
	return f
}

func judgePeers(r reach, p process) Finding {
	f := Finding{Check: "peers", What: fmt.Sprintf("the peers of sockets can be asked: pidfd_getfd works for all %d visible processes", r.access.Processes)}
	if g, untried := notTried(f.Check, r); untried {
		return g
	}
	d := r.access.Receive
	switch {
	case d.Count == 0:
		return f
	case errors.Is(d.Err, unix.ENOSYS):
		f.Level, f.Do = Warn, "use Linux 5.6 or later, and a seccomp profile that allows pidfd_open and pidfd_getfd; grace alone decides until then"
		f.What = fmt.Sprintf("no peer can be asked: the kernel, or a seccomp filter in its name, knows no pidfd_open or pidfd_getfd: %v", d.Err)
		return f
	}
	f.Level = Warn
	f.What = fmt.Sprintf("the peers of some sockets cannot be asked, so grace alone decides about these: %d of %d visible processes refuse pidfd_getfd (%v: %v)",
		d.Count, r.access.Processes, d.First, d.Err)
	f.Do = accessAdvice(p, "pidfd_open and pidfd_getfd", sysPtrace)
	if p.effective.has(sysPtrace) {
		f.Do += "; kernel.yama.ptrace_scope=3 refuses it too"
	}
	return f
}

// notTried returns the finding for processes that could not be tried.
func notTried(check string, r reach) (f Finding, untried bool) {
	f = Finding{Check: check, Level: Warn, Do: "mount a proc file system on /proc and run this again"}
	switch {
	case r.err != nil:
		f.What = fmt.Sprintf("could not be tried: %v", r.err)
	case r.access.Processes == 0:
		f.What = "could not be tried: no other process is visible from here"
		f.Do = "hostPID: true in Kubernetes, --pid=host in docker and podman"
	default:
		return Finding{}, false
	}
	return f, true
}

// accessAdvice says how to get at processes: by the capabilities that are missing, else by lifting what refuses.
func accessAdvice(p process, calls string, needed ...capability) string {
	if missing := p.effective.lacks(needed...); len(missing) > 0 {
		return grant(p, missing...)
	}
	return allowCalls(calls)
}
