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

// ordinary is a machine that loads the programs.
func ordinary() machine {
	return machine{release: "6.12.0-1-amd64", types: true}
}

func TestWhyTheProgramsDoNotLoadIsSaidInAnOperatorsWords(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		change func(*machine)
		want   Reason
		says   string
	}{
		"no capability": {
			unix.EPERM, func(m *machine) { m.missing = []string{"CAP_BPF", "CAP_PERFMON"} }, NoCapability, "CAP_BPF and CAP_PERFMON",
		},
		"a user namespace": {
			unix.EPERM, func(m *machine) { m.nested = true }, NoCapability, "first user namespace",
		},
		"lockdown":       {unix.EPERM, func(m *machine) { m.lockdown = true }, Lockdown, "integrity"},
		"something else": {unix.EPERM, func(*machine) {}, Refused, "seccomp"},
		"no BTF":         {ebpf.ErrNotSupported, func(m *machine) { m.types = false }, NoBTF, "CONFIG_DEBUG_INFO_BTF"},
		"no bpf(2)":      {unix.ENOSYS, func(*machine) {}, OldKernel, "CONFIG_BPF_SYSCALL"},
		"an old kernel":  {unix.EINVAL, func(m *machine) { m.release = "5.10.0-8" }, OldKernel, "this is 5.10.0-8"},
		"a lack":         {ebpf.ErrNotSupported, func(*machine) {}, OldKernel, "CONFIG_BPF_EVENTS"},
		"a refusal":      {unix.EINVAL, func(*machine) {}, Refused, "6.12.0-1-amd64"},
		"a strange name": {unix.EINVAL, func(m *machine) { m.release = "bsd" }, Refused, "bsd"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ordinary()
			tt.change(&m)
			err := explain(fmt.Errorf("load the programs: %w", tt.err), m)
			e, ok := errors.AsType[*UnsupportedError](err)
			if !ok || e.Reason != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want the reason %q and %v in it", err, tt.want, tt.err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
		})
	}
}

func TestVersionsAreComparedAsNumbers(t *testing.T) {
	for release, want := range map[string]bool{
		"5.13.19": true, "5.14.0-503.el9.x86_64": false, "5.9": true, "6.1.0": false, "4.18.0-553.el8": true, "": false, "six": false,
	} {
		if m := (machine{release: release}); m.olderThan(5, 14) != want {
			t.Errorf("%q older than 5.14: %t, want %t", release, !want, want)
		}
	}
}
