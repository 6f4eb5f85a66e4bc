// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"testing"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestKernelsAreCheckedByTheirFeatures(t *testing.T) {
	good := kernel{release: "6.18.5-amd64", machine: "x86_64"}
	ok := []want{{"kernel", OK, "Linux 6.18.5-amd64 on x86_64", ""}, {"netns-cookie", OK, "", ""}, {"openat2", OK, "", ""}}
	for _, tt := range []struct {
		name   string
		change func(*kernel)
		differ int // the finding that differs from a good kernel's
		want   want
	}{
		{"a good one", func(*kernel) {}, 0, ok[0]},
		{"one without socket cookies", func(k *kernel) { k.release = "4.4.0" }, 0, want{"kernel", Fail, "Linux 4.4.0", "Linux 4.12"}},
		{"the first with them", func(k *kernel) { k.release = "4.12.0-rc1" }, 0, want{"kernel", OK, "4.12.0-rc1", ""}},
		{"one with two digits", func(k *kernel) { k.release = "10.0" }, 0, want{"kernel", OK, "10.0", ""}},
		{"one without a number", func(k *kernel) { k.release = "next" }, 0, want{"kernel", Info, `"next"`, "try each feature"}},
		{"one without a release", func(k *kernel) { k.release = "" }, 0, want{"kernel", Info, `""`, "try each feature"}},
		{"one without netns cookies", func(k *kernel) { k.netnsCookie = unix.ENOPROTOOPT }, 1, want{"netns-cookie", Warn, "inode number, which is reused", "5.14"}},
		{"one whose socket option is refused", func(k *kernel) { k.netnsCookie = unix.EPERM }, 1, want{"netns-cookie", Warn, "operation not permitted", "seccomp"}},
		{"one without openat2", func(k *kernel) { k.openat2 = unix.ENOSYS }, 2, want{"openat2", Info, "--host-root", "5.6"}},
		{"one whose openat2 is refused", func(k *kernel) { k.openat2 = unix.EPERM }, 2, want{"openat2", Info, "refused", "seccomp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := good
			tt.change(&k)
			wants := append([]want{}, ok...)
			wants[tt.differ] = tt.want
			expect(t, reportKernel(k), wants...)
		})
	}
}

func TestDestroyingIsCheckedByTheKernelsAnswer(t *testing.T) {
	probe := func(err error) error { return fmt.Errorf("probe SOCK_DESTROY: %w", err) }
	confined := root()
	confined.effective, confined.bounding = without(capability.CAP_NET_ADMIN), without(capability.CAP_NET_ADMIN)
	user := process{uid: 65534, bounding: every}
	for _, tt := range []struct {
		name string
		err  error
		by   process
		want want
	}{
		{"it works", nil, root(), want{level: OK, what: "SOCK_DESTROY works"}},
		{"the kernel was built without it", probe(inetdiag.ErrUnsupported), root(), want{level: Fail, what: "CONFIG_INET_DIAG_DESTROY", do: "Debian"}},
		{"a container may not", probe(inetdiag.ErrDenied), confined, want{level: Warn, what: "refused without CAP_NET_ADMIN; the kernel supports it", do: "securityContext.capabilities.add [NET_ADMIN]"}},
		{"a user may not", probe(inetdiag.ErrDenied), user, want{level: Warn, what: "refused without CAP_NET_ADMIN", do: "as root"}},
		{"a security module refuses", probe(fmt.Errorf("%w: %w", inetdiag.ErrDenied, unix.EACCES)), root(), want{level: Fail, what: "although CAP_NET_ADMIN is held", do: "SELinux"}},
		{"the module is not loaded", probe(fmt.Errorf("look up own socket: %w", inetdiag.ErrNoTCP)), root(), want{level: Fail, what: "not loaded", do: "modprobe -a inet_diag tcp_diag"}},
		{"there is no sock_diag", probe(unix.EPROTONOSUPPORT), root(), want{level: Fail, what: "no sock_diag", do: "CONFIG_INET_DIAG"}},
		{"lo is down", probe(fmt.Errorf("connect over 127.0.0.1 (is lo up?): %w", unix.ENETUNREACH)), root(), want{level: Warn, what: "could not be tried", do: "ip link set lo up"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.check = "sock-destroy"
			expect(t, reportDestroy(destroy{err: tt.err, ownNS: true}, tt.by), tt.want)
		})
	}
	t.Run("without a namespace for it", func(t *testing.T) {
		expect(t, reportDestroy(destroy{}, root()), want{"sock-destroy", OK, "in this process's own network namespace", ""})
	})
	t.Run("without sock_diag there is no finder", func(t *testing.T) {
		expect(t, reportFinder(destroy{err: probe(inetdiag.ErrNoTCP)}, bpf{}), want{"finder", Fail, "does not work here", "sock-destroy"})
		expect(t, reportFinder(destroy{err: probe(inetdiag.ErrUnsupported)}, bpf{}), want{"finder", OK, "selects bpf", ""})
		expect(t, reportFinder(destroy{}, bpf{load: unix.EPERM}), want{"finder", OK, "selects sockdiag", ""})
	})
}

func TestARefusalOfBPFHasAReason(t *testing.T) {
	holding := func(eff capabilities, change func(*process)) process {
		p := root()
		p.effective = eff
		change(&p)
		return p
	}
	none := func(*process) {}
	bare := capabilities(0)
	for _, tt := range []struct {
		name   string
		load   error
		by     process
		reason string
	}{
		{"not built in", unix.ENOSYS, root(), "CONFIG_BPF_SYSCALL"},
		{"of an unknown type", unix.EINVAL, root(), "this type"},
		{"of another errno", unix.E2BIG, root(), "argument list too long"},
		{"without the capabilities", unix.EPERM, holding(bare, none), "CAP_BPF, CAP_PERFMON are missing"},
		{"without one of them", unix.EPERM, holding(1<<capability.CAP_BPF, none), "CAP_PERFMON is missing"},
		{"with CAP_SYS_ADMIN instead", unix.EPERM, holding(1<<capability.CAP_SYS_ADMIN, none), "a security module or lockdown"},
		{"in a user namespace", unix.EPERM, holding(every, func(p *process) { p.userNS = elsewhere }), "host's user namespace"},
		{"under seccomp", unix.EPERM, holding(every, func(p *process) { p.seccomp = 2 }), "seccomp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, reportBPF(bpf{load: tt.load}, tt.by), want{"btf", OK, "", ""}, want{"bpf", Info, tt.reason, "nothing"})
		})
	}
	expect(t, reportBPF(bpf{}, root()), want{"btf", OK, "", ""}, want{"bpf", OK, "programs can be loaded", ""})
	expect(t, reportBPF(bpf{btf: unix.ENOENT, load: unix.EPERM, lockdown: "confidentiality"}, root()),
		want{"btf", Info, "CONFIG_DEBUG_INFO_BTF", "nothing"}, want{"bpf", Info, "lockdown is confidentiality", "nothing"})
	expect(t, reportBPF(bpf{lockdown: "integrity"}, root()), want{"btf", OK, "", ""}, want{"bpf", OK, "", ""})
}

func TestLockdownIsTheWordInBrackets(t *testing.T) {
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "none", "none [integrity] confidentiality": "integrity",
		"none integrity [confidentiality]": "confidentiality", "": "", "none": "", "[": "", "[none": "",
	} {
		if got := parseLockdown(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
