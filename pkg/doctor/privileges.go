// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"
)

// judgeProcess says which privileges are held and missing.
func judgeProcess(p process) []Finding {
	if p.err != nil {
		return []Finding{{
			Check: "privileges", Level: Warn, What: "what this process may do is not known: " + p.err.Error(),
			Do: "mount a proc file system on /proc and run this again",
		}}
	}
	return []Finding{judgeCapabilities(p), judgePtrace(p), judgeUserNS(p), judgePIDNS(p), judgeConfinement(p)}
}

func judgeCapabilities(p process) Finding {
	f := Finding{Check: "capabilities", What: "CAP_SYS_ADMIN and CAP_NET_ADMIN are held, to enter network namespaces and destroy sockets: see netns-entry and sock-destroy for whether that works"}
	missing := p.effective.lacks(sysAdmin, netAdmin)
	if len(missing) == 0 {
		return f
	}
	uses := map[capability]string{sysAdmin: "enter no namespace", netAdmin: "destroy nothing"}
	var cannot []string
	for _, c := range missing {
		cannot = append(cannot, uses[c])
	}
	f.Level, f.Do = Fail, grant(p, missing...)
	f.What = fmt.Sprintf("%s missing here: a reaper with these privileges can %s", areNames(missing), strings.Join(cannot, " and "))
	return f
}

func areNames(list []capability) string {
	if len(list) == 1 {
		return join("CAP_", list) + " is"
	}
	return join("CAP_", list) + " are"
}

func judgePtrace(p process) Finding {
	missing := p.effective.lacks(sysPtrace, dacRead)
	if len(missing) == 0 {
		return Finding{Check: "capabilities", What: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are held: paths like /proc/PID/ns/net can be followed, and the owners of sockets named"}
	}
	f := Finding{Check: "capabilities", Level: Warn, Do: grant(p, missing...)}
	f.What = areNames(missing) + " missing here: the owners of sockets cannot be named"
	if !p.effective.has(sysPtrace) {
		f.What += ", recorded paths like /proc/PID/ns/net not be followed, and of the host's namespaces only the reaper's own is sure to be refused"
	}
	return f
}

func judgeUserNS(p process) Finding {
	return judgeNamespace("user", p.userNS, Finding{
		What: "capabilities hold for every container's namespace",
	}, Finding{
		What: "the capabilities held here reach only network namespaces that were made in here, not those that a runtime of the host makes",
		Do:   "leave it so only if the runtime is in here too (rootless); else run the reaper without a user namespace: hostUsers: true in Kubernetes, --userns=host in docker and podman",
	})
}

func judgePIDNS(p process) Finding {
	return judgeNamespace("pid", p.pidNS, Finding{
		What: "every process can be seen",
	}, Finding{
		What: "the owners of sockets outside of it cannot be named, nor recorded paths like /proc/PID/ns/net be followed",
		Do:   "hostPID: true in Kubernetes, --pid=host in docker and podman",
	})
}

// judgeNamespace says whether a namespace of that kind is the host's, and what comes of that.
func judgeNamespace(kind string, where place, host, other Finding) Finding {
	f := Finding{Check: kind + "-namespace"}
	switch where {
	case onHost:
		f.What = "this is the host's " + kind + " namespace: " + host.What
	case elsewhere:
		f.Level, f.Do = Warn, other.Do
		f.What = "this is not the host's " + kind + " namespace: " + other.What
	default:
		f.Level, f.What = Info, "which "+kind+" namespace this is cannot be told: /proc/self/ns/"+kind+" cannot be read"
		f.Do = "mount a proc file system on /proc"
	}
	return f
}

func judgeConfinement(p process) Finding {
	var by []string
	if p.seccomp != 0 {
		by = append(by, "a seccomp filter, which may refuse setns, unshare, openat2 or bpf")
	}
	if p.noNewPrivs {
		by = append(by, "no_new_privs, which keeps what it starts from gaining capabilities")
	}
	if len(by) == 0 {
		return Finding{Check: "confinement", What: "neither seccomp nor no_new_privs is in force"}
	}
	return Finding{
		Check: "confinement", Level: Info, What: "in force: " + strings.Join(by, "; "),
		Do: "nothing while the other checks are content; else allow those system calls in the profile, or use none (seccompProfile type Unconfined)",
	}
}
