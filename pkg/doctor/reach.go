// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// reach is the result of the reaper's operations on network namespaces and processes.
type reach struct {
	enter  error // of entering a network namespace
	access owners.Access
	err    error // why the processes were not tried
}

// tryReach performs the operations, since a seccomp filter or a security module may refuse them despite a capability.
func tryReach(ctx context.Context) (r reach) {
	r.enter = netns.TryEnter()
	r.access, r.err = owners.NewProc("/proc").TryAccess(ctx)
	return r
}

// allowCalls returns what to do if system calls are refused for another reason than a missing capability.
func allowCalls(calls string) string {
	return "allow " + calls + " in the seccomp profile (Kubernetes: seccompProfile, docker and podman: --security-opt seccomp=, systemd: SystemCallFilter=), " +
		"and check the logs of security modules (SELinux, AppArmor) for a denial"
}

func reportReach(r reach, p process) []Finding {
	return []Finding{reportEntry(r.enter, p), reportOwners(r, p), reportPeers(r, p)}
}

func reportEntry(err error, p process) Finding {
	f := Finding{Check: "netns-entry", What: "network namespaces can be entered: this process entered its own"}
	if err == nil {
		return f
	}
	f.Level, f.Do = Fail, allowCalls("setns")
	f.What = fmt.Sprintf("no network namespace can be entered, so no pod's sockets can be destroyed: %v", err)
	if !p.effective.has(capability.CAP_SYS_ADMIN) {
		f.Do = grant(p, capability.CAP_SYS_ADMIN)
	}
	return f
}

func reportOwners(r reach, p process) Finding {
	f := Finding{Check: "owners", What: fmt.Sprintf("socket owners can be found: the file descriptors of all %d visible processes can be listed", r.access.Processes)}
	if g, failed := reportUntried(f.Check, r); failed {
		return g
	}
	d := r.access.List
	if d.Count == 0 {
		return f
	}
	f.Level = Warn
	f.What = fmt.Sprintf("the sockdiag finder cannot find the owners of some sockets: the file descriptors of %d of %d visible processes cannot be listed (%v: %v); rules with commands spare their sockets",
		d.Count, r.access.Processes, d.First, d.Err)
	f.Do = accessAdvice(p, "readlink and openat", capability.CAP_SYS_PTRACE, capability.CAP_DAC_READ_SEARCH)
	return f
}

func reportPeers(r reach, p process) Finding {
	f := Finding{Check: "peers", What: fmt.Sprintf("peers can be probed: pidfd_getfd works for all %d visible processes", r.access.Processes)}
	if g, failed := reportUntried(f.Check, r); failed {
		return g
	}
	d := r.access.Receive
	switch {
	case d.Count == 0:
		return f
	case errors.Is(d.Err, unix.ENOSYS):
		f.Level, f.Do = Warn, "use Linux 5.6 or later, and a seccomp profile that allows pidfd_open and pidfd_getfd; until then only the grace decides"
		f.What = fmt.Sprintf("no peer can be probed: the kernel or a seccomp filter has no pidfd_open or pidfd_getfd: %v", d.Err)
		return f
	}
	f.Level = Warn
	f.What = fmt.Sprintf("the peers of some sockets cannot be probed, so only the grace decides about them: %d of %d visible processes refuse pidfd_getfd (%v: %v)",
		d.Count, r.access.Processes, d.First, d.Err)
	f.Do = accessAdvice(p, "pidfd_open and pidfd_getfd", capability.CAP_SYS_PTRACE)
	if p.effective.has(capability.CAP_SYS_PTRACE) {
		f.Do += "; kernel.yama.ptrace_scope=3 refuses it too"
	}
	return f
}

// reportUntried returns the finding if no process could be tried.
func reportUntried(check string, r reach) (f Finding, failed bool) {
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

// accessAdvice returns how to get access to processes: by the missing capabilities, or by allowing the system calls.
func accessAdvice(p process, calls string, needed ...capability.Cap) string {
	if missing := p.effective.lacks(needed...); len(missing) > 0 {
		return grant(p, missing...)
	}
	return allowCalls(calls)
}
