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

// UnsupportedError says why the programs cannot be loaded here.
type UnsupportedError struct {
	Reason Reason
	Remedy string // what to do about it
	Err    error  // what the kernel or the library said
}

// Reason is why the programs cannot be loaded, in a word.
type Reason string

// The reasons.
const (
	NoBTF        Reason = "no BTF"
	OldKernel    Reason = "old kernel"
	NoCapability Reason = "no capability"
	Lockdown     Reason = "lockdown"
	Refused      Reason = "refused" // by the kernel, in spite of all that
)

// Error says why and what to do, and what the kernel said only where that is all there is to go by.
func (e *UnsupportedError) Error() string {
	text := string(e.Reason) + ": " + e.Remedy
	if e.Reason == Refused {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns what the kernel or the library said.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// explain tells why the programs could not be loaded on a machine.
func explain(err error, on machine) error {
	e := &UnsupportedError{Err: err}
	switch denied := errors.Is(err, fs.ErrPermission); {
	case denied && len(on.missing) > 0:
		e.Reason, e.Remedy = NoCapability, "it takes "+strings.Join(on.missing, " and ")
	case denied && on.nested:
		e.Reason, e.Remedy = NoCapability, "it takes CAP_BPF and CAP_PERFMON in the first user namespace, not in a container's own"
	case denied && on.lockdown:
		e.Reason = Lockdown
		e.Remedy = "the kernel is locked down to confidentiality (" + lockdownFile + "), it takes integrity or none"
	case denied:
		e.Reason, e.Remedy = Refused, "look for a seccomp filter or a security module that forbids bpf(2)"
	case !on.types:
		e.Reason = NoBTF
		e.Remedy = "it takes a kernel that tells its types in " + kernelTypes + " (CONFIG_DEBUG_INFO_BTF), and /sys to be there"
	case on.olderThan(5, 14), errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		e.Reason = OldKernel
		e.Remedy = "it takes Linux 5.14 with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, this is " + on.release
	default:
		e.Reason, e.Remedy = Refused, "Linux "+on.release+" does not take the programs"
	}
	return e
}
