// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// version returns a LINUX_VERSION_CODE.
func version(major, minor, patch uint32) uint32 { return major<<16 | minor<<8 | patch }

// notSupported is an error as the library's feature tests return it.
type notSupported struct{}

func (notSupported) Error() string { return "program type Tracing not supported (requires >= v5.5)" }

func (notSupported) Is(target error) bool { return target == ebpf.ErrNotSupported }

func TestErrorSaysWhyTheProgramsDoNotLoadAndWhatTheyNeed(t *testing.T) {
	noBTF := fmt.Errorf("no BTF found for kernel version 6.12: %w", ebpf.ErrNotSupported)
	for name, tt := range map[string]struct {
		err    error
		change func(*machine)
		want   Reason
		text   string
	}{
		"no capability": {
			unix.EPERM, func(m *machine) { m.missing = []string{"CAP_BPF", "CAP_PERFMON"} }, NoCapability, "needs CAP_BPF and CAP_PERFMON",
		},
		"a user namespace":      {unix.EPERM, func(m *machine) { m.nested = true }, NoCapability, "initial user namespace"},
		"lockdown":              {unix.EPERM, func(m *machine) { m.lockdown = true }, Lockdown, "integrity"},
		"a seccomp filter":      {unix.EPERM, func(*machine) {}, Refused, "seccomp"},
		"no BTF":                {ebpf.ErrNotSupported, func(m *machine) { m.btf = noBTF }, NoBTF, "CONFIG_DEBUG_INFO_BTF"},
		"unreadable BTF":        {unix.EINVAL, func(m *machine) { m.btf = unix.EIO }, Refused, "rejects"},
		"no bpf(2)":             {unix.ENOSYS, func(*machine) {}, OldKernel, "CONFIG_BPF_SYSCALL"},
		"an old kernel":         {unix.EINVAL, func(m *machine) { m.version = version(5, 10, 8) }, OldKernel, "this is 5.10.8"},
		"a missing type":        {unix.EINVAL, func(m *machine) { m.tracing = notSupported{} }, OldKernel, "requires >= v5.5"},
		"a missing feature":     {fmt.Errorf("map: %w", notSupported{}), func(*machine) {}, OldKernel, "CONFIG_BPF_EVENTS, this is 6.12.0: program type"},
		"a refusal":             {unix.EINVAL, func(*machine) {}, Refused, "6.12.0"},
		"an unknown version":    {unix.EINVAL, func(m *machine) { m.version = 0 }, Refused, "rejects"},
		"an untested privilege": {unix.EINVAL, func(m *machine) { m.tracing = unix.EPERM }, Refused, "rejects"},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine{version: version(6, 12, 0)} // it loads the programs
			tt.change(&m)
			err := explain(fmt.Errorf("load the programs: %w", tt.err), m)
			e, ok := errors.AsType[*UnsupportedError](err)
			if !ok || e.Reason != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want the reason %q and %v in the chain", err, tt.want, tt.err)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q lacks %q", err, tt.text)
			}
		})
	}
}

func TestVersionsAreComparedAsNumbers(t *testing.T) {
	for v, want := range map[uint32]bool{
		version(5, 13, 19): true, version(5, 14, 0): false, version(5, 9, 255): true, version(6, 1, 0): false, version(4, 18, 0): true, 0: false,
	} {
		if m := (machine{version: v}); m.olderThan(5, 14) != want {
			t.Errorf("%s older than 5.14: %t, want %t", m.release(), !want, want)
		}
	}
}
