// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/moby/sys/capability"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

func TestLoadingAndReadingNeedsOnlyCapBPFAndCapPerfmon(t *testing.T) {
	load(t, bpf.Options{}) // or skip
	at := newNetns(t)
	pair := at.Connect(t, nstest.IPv4)
	at.halfClose(t, at.Connect(t, nstest.IPv4)) // before it is watched
	at.Do(t, func() {
		nstest.KeepCapabilities(t, capability.CAP_BPF, capability.CAP_PERFMON)
		p, err := bpf.Load(bpf.Options{})
		if err != nil {
			t.Error(err)
			return
		}
		defer p.Close()
		walked, set := 0, 0
		for _, step := range []func() error{
			func() error { return p.Watch([]uint64{at.cookie}) },
			pair.Server.CloseWrite,
			func() error { return p.Walk(func(*bpf.OwnedSocket) error { walked++; return nil }) },
			func() error { return p.Entries(func(*bpf.Socket) error { set++; return nil }) },
			func() error { return p.Descriptors(func(*bpf.Descriptor) error { return nil }) },
			func() error { _, err := p.Health(); return err },
			func() error { return p.Forget([]uint64{1}) },
			func() error { return p.Watch(nil) },
		} {
			if err := step(); err != nil {
				t.Error(err)
			}
		}
		if walked < 2 || set < 2 {
			t.Errorf("the walk reports %d sockets, the set has %d, want at least 2", walked, set)
		}
	})
}

func TestAMissingCapabilityIsNamed(t *testing.T) {
	load(t, bpf.Options{}) // or skip
	at := newNetns(t)
	for name, tt := range map[string]struct {
		keep    []capability.Cap
		missing []string
	}{
		"neither":     {nil, []string{"CAP_BPF", "CAP_PERFMON"}},
		"no BPF":      {[]capability.Cap{capability.CAP_PERFMON, capability.CAP_NET_ADMIN}, []string{"CAP_BPF"}},
		"no perfmon":  {[]capability.Cap{capability.CAP_BPF, capability.CAP_NET_ADMIN}, []string{"CAP_PERFMON"}},
		"others only": {[]capability.Cap{capability.CAP_NET_ADMIN, capability.CAP_SYS_PTRACE}, []string{"CAP_BPF", "CAP_PERFMON"}},
	} {
		t.Run(name, func(t *testing.T) {
			at.Do(t, func() {
				nstest.KeepCapabilities(t, tt.keep...)
				p, err := bpf.Load(bpf.Options{})
				if err == nil {
					p.Close()
					t.Error("loaded")
					return
				}
				e, ok := errors.AsType[*bpf.UnsupportedError](err)
				if !ok || e.Reason != bpf.NoCapability || !errors.Is(err, fs.ErrPermission) {
					t.Errorf("got %v, want %q", err, bpf.NoCapability)
					return
				}
				for _, c := range []string{"CAP_BPF", "CAP_PERFMON"} {
					named := false
					for _, m := range tt.missing {
						named = named || m == c
					}
					if strings.Contains(e.Remedy, c) != named {
						t.Errorf("%s in the remedy %q: want that of %v", c, e.Remedy, tt.missing)
					}
				}
			})
		})
	}
}
