// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// capabilities is a set of capabilities(7): bit n is capability n.
type capabilities uint64

func (s capabilities) has(c capability.Cap) bool { return s&(1<<c) != 0 }

// lacks returns the capabilities of the list that are not in the set.
func (s capabilities) lacks(list ...capability.Cap) []capability.Cap {
	var missing []capability.Cap
	for _, c := range list {
		if !s.has(c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// capNames returns names such as "CAP_NET_ADMIN, CAP_SYS_ADMIN". Container runtimes write them without the prefix.
func capNames(prefix string, list []capability.Cap) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = prefix + strings.ToUpper(c.String())
	}
	return strings.Join(names, ", ")
}

// areMissing returns "CAP_BPF is missing" or "CAP_BPF, CAP_PERFMON are missing".
func areMissing(list []capability.Cap) string {
	if len(list) == 1 {
		return capNames("CAP_", list) + " is missing"
	}
	return capNames("CAP_", list) + " are missing"
}

// grant returns how to get missing capabilities.
func grant(p process, missing ...capability.Cap) string {
	if p.uid != 0 {
		return "run it as root"
	}
	if len(p.bounding.lacks(missing...)) == 0 {
		return fmt.Sprintf("start it with %s (systemd: AmbientCapabilities=; setpriv: --inh-caps and --ambient-caps)", capNames("CAP_", missing))
	}
	return fmt.Sprintf("grant them from outside the container: securityContext.capabilities.add [%s] in Kubernetes, --cap-add in docker and podman, CapabilityBoundingSet= in a systemd unit",
		capNames("", missing))
}

// process is the privileges and namespaces of this process.
type process struct {
	err                 error // why they are unknown
	uid                 int
	effective, bounding capabilities
	noNewPrivs          bool
	seccomp             int // as in /proc/PID/status: 0 no filter, 1 strict, 2 filter
	userNS              place
	pidNS               place
	mountNS             place
}

// place is whether a process is in the host's namespace of a kind.
type place int

const (
	unknown place = iota
	onHost
	elsewhere
)

// inspectProcess inspects this process with a proc file system.
func inspectProcess(proc string) process {
	p := process{uid: os.Geteuid()}
	text, err := os.ReadFile(filepath.Join(proc, "self/status"))
	if err == nil {
		err = p.parseStatus(string(text))
	}
	if err == nil {
		err = p.loadCapabilities()
	}
	p.err = err
	ns := func(pid, kind string) uint64 { return hostfs.NamespaceInode(filepath.Join(proc, pid, "ns", kind)) }
	p.userNS = fixedPlace(ns("self", "user"), hostfs.InitialUserNS)
	p.pidNS = fixedPlace(ns("self", "pid"), hostfs.InitialPIDNS)
	p.mountNS = mountPlace(ns("self", "mnt"), ns("1", "mnt"), p.pidNS)
	return p
}

func (p *process) loadCapabilities() error {
	held, err := capability.NewPid2(0)
	if err == nil {
		err = held.Load()
	}
	if err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	for _, c := range capability.ListKnown() {
		if held.Get(capability.EFFECTIVE, c) {
			p.effective |= 1 << c
		}
		if held.Get(capability.BOUNDING, c) {
			p.bounding |= 1 << c
		}
	}
	return nil
}

func fixedPlace(own, host uint64) place {
	switch own {
	case 0:
		return unknown
	case host:
		return onHost
	}
	return elsewhere
}

// mountPlace compares with the mount namespace of process 1 if the kernel has no fixed number for the host's.
func mountPlace(own, first uint64, pidNS place) place {
	switch {
	case own == 0:
		return unknown
	case own == hostfs.InitialMountNS:
		return onHost
	case pidNS == elsewhere: // a container with its own processes has its own mounts
		return elsewhere
	case first == 0 || pidNS == unknown:
		return unknown
	case own == first:
		return onHost
	}
	return elsewhere
}

// parseStatus parses /proc/PID/status (proc_pid_status(5)).
func (p *process) parseStatus(text string) error {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "NoNewPrivs":
			p.noNewPrivs = value == "1"
		case "Seccomp":
			p.seccomp, err = strconv.Atoi(value)
		}
		if err != nil {
			return fmt.Errorf("read %s of /proc/self/status: %w", key, err)
		}
	}
	return nil
}

// reportProcess reports held and missing privileges.
func reportProcess(p process) []Finding {
	if p.err != nil {
		return []Finding{{
			Check: "privileges", Level: Warn, What: "the privileges of this process are unknown: " + p.err.Error(),
			Do: "mount a proc file system on /proc and run this again",
		}}
	}
	return []Finding{reportCapabilities(p), reportProcessAccess(p), reportUserNS(p), reportPIDNS(p), reportConfinement(p)}
}

func reportCapabilities(p process) Finding {
	f := Finding{Check: "capabilities", What: "CAP_SYS_ADMIN and CAP_NET_ADMIN are held, to enter network namespaces and destroy sockets; netns-entry and sock-destroy try both"}
	missing := p.effective.lacks(capability.CAP_SYS_ADMIN, capability.CAP_NET_ADMIN)
	if len(missing) == 0 {
		return f
	}
	uses := map[capability.Cap]string{capability.CAP_SYS_ADMIN: "enter no namespace", capability.CAP_NET_ADMIN: "destroy nothing"}
	var cannot []string
	for _, c := range missing {
		cannot = append(cannot, uses[c])
	}
	f.Level, f.Do = Fail, grant(p, missing...)
	f.What = fmt.Sprintf("%s here: a reaper with these privileges can %s", areMissing(missing), strings.Join(cannot, " and "))
	return f
}

func reportProcessAccess(p process) Finding {
	f := Finding{Check: "process-access", What: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are held, to resolve paths such as /proc/PID/ns/net and to find the owners of sockets"}
	missing := p.effective.lacks(capability.CAP_SYS_PTRACE, capability.CAP_DAC_READ_SEARCH)
	if len(missing) == 0 {
		return f
	}
	f.Level, f.Do = Warn, grant(p, missing...)
	f.What = areMissing(missing) + " here: socket owners cannot be found"
	if !p.effective.has(capability.CAP_SYS_PTRACE) {
		f.What += ", recorded paths such as /proc/PID/ns/net cannot be resolved, and only the reaper's own network namespace is protected for certain"
	}
	return f
}

func reportUserNS(p process) Finding {
	return reportNamespace("user", p.userNS, "capabilities apply to every container's namespace",
		"the capabilities held here apply only to network namespaces created in it, not to those of the host's runtime",
		"leave it if the runtime is in it too (rootless); otherwise run the reaper without a user namespace: hostUsers: true in Kubernetes, --userns=host in docker and podman")
}

func reportPIDNS(p process) Finding {
	return reportNamespace("pid", p.pidNS, "every process is visible",
		"the owners of sockets outside it cannot be found, and recorded paths such as /proc/PID/ns/net cannot be resolved",
		"hostPID: true in Kubernetes, --pid=host in docker and podman")
}

// reportNamespace reports whether a namespace is the host's, and the consequence of either.
func reportNamespace(kind string, where place, onHostWhat, elsewhereWhat, elsewhereDo string) Finding {
	f := Finding{Check: kind + "-namespace"}
	switch where {
	case onHost:
		f.What = "this is the host's " + kind + " namespace: " + onHostWhat
	case elsewhere:
		f.Level, f.Do = Warn, elsewhereDo
		f.What = "this is not the host's " + kind + " namespace: " + elsewhereWhat
	default:
		f.Level, f.What = Info, "cannot determine the "+kind+" namespace: /proc/self/ns/"+kind+" cannot be read"
		f.Do = "mount a proc file system on /proc"
	}
	return f
}

func reportConfinement(p process) Finding {
	var by []string
	if p.seccomp != 0 {
		by = append(by, "a seccomp filter, which may refuse setns, unshare, openat2 or bpf")
	}
	if p.noNewPrivs {
		by = append(by, "no_new_privs, with which child processes cannot gain capabilities")
	}
	if len(by) == 0 {
		return Finding{Check: "confinement", What: "neither seccomp nor no_new_privs is in force"}
	}
	return Finding{
		Check: "confinement", Level: Info, What: "in force: " + strings.Join(by, "; "),
		Do: "nothing if the other checks pass; otherwise allow those system calls in the profile, or use none (seccompProfile type Unconfined)",
	}
}
