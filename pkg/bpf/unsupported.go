// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// UnsupportedError is the error of programs that cannot be loaded here.
type UnsupportedError struct {
	Reason Reason
	Remedy string // what loading needs
	Err    error  // the kernel's or the library's
}

// Reason is a word for the reason why the programs cannot be loaded.
type Reason string

// The reasons.
const (
	NoBTF        Reason = "no BTF"
	OldKernel    Reason = "old kernel"
	NoCapability Reason = "no capability"
	Lockdown     Reason = "lockdown"
	Refused      Reason = "refused" // none of the above
)

// Error returns the reason and the remedy, and Err if the reason is Refused.
func (e *UnsupportedError) Error() string {
	text := string(e.Reason) + ": " + e.Remedy
	if e.Reason == Refused {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// explain returns the UnsupportedError for an error of loading the programs on a machine.
func explain(err error, on machine) error {
	e := &UnsupportedError{Err: err}
	switch isDenied := errors.Is(err, fs.ErrPermission); {
	case isDenied && len(on.missing) > 0:
		e.Reason, e.Remedy = NoCapability, "needs "+strings.Join(on.missing, " and ")
	case isDenied && on.nested:
		e.Reason, e.Remedy = NoCapability, "needs CAP_BPF and CAP_PERFMON in the initial user namespace, not in a container's own"
	case isDenied && on.lockdown:
		e.Reason = Lockdown
		e.Remedy = "the kernel is in lockdown mode confidentiality (" + lockdownFile + "): needs integrity or none"
	case isDenied:
		e.Reason, e.Remedy = Refused, "check for a seccomp filter or a security module that forbids bpf(2)"
	case errors.Is(on.btf, ebpf.ErrNotSupported):
		e.Reason = NoBTF
		e.Remedy = "needs a kernel with CONFIG_DEBUG_INFO_BTF, and /sys mounted: " + on.btf.Error()
	case on.olderThan(5, 14), errors.Is(on.tracing, ebpf.ErrNotSupported), errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		e.Reason = OldKernel
		e.Remedy = "needs Linux 5.14 with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, this is " + on.release()
		for _, err := range []error{on.tracing, err} {
			if errors.Is(err, ebpf.ErrNotSupported) {
				e.Remedy += ": " + cause(err).Error() // it names the feature and the minimum version
				break
			}
		}
	default:
		e.Reason, e.Remedy = Refused, "Linux "+on.release()+" rejects the programs"
	}
	return e
}

// cause returns the innermost error.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
