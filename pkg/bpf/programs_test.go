// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

func TestCloseLeavesNoDescriptorOpenAndMayBeRepeated(t *testing.T) {
	load(t, bpf.Options{}) // or skip; the runtime opens its own descriptors now
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := open()
	for range 3 {
		p, err := bpf.Load(bpf.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := p.Entries(func(*bpf.Socket) error { return nil }); err == nil {
			t.Error("Entries of closed programs returns no error")
		}
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func TestWatchFailsBeyondMaxNamespaces(t *testing.T) {
	p := load(t, bpf.Options{MaxNamespaces: 2})
	if err := p.Watch([]uint64{1, 2}); err != nil {
		t.Error(err)
	}
	if err := p.Watch([]uint64{2, 3}); err != nil {
		t.Errorf("replace one: %v", err)
	}
	if err := p.Watch([]uint64{2, 3, 4}); !errors.Is(err, unix.E2BIG) {
		t.Errorf("a third: %v, want %v", err, unix.E2BIG)
	}
	if err := p.Watch([]uint64{5, 5, 6}); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}

func TestProgramsMayBeUsedConcurrently(t *testing.T) {
	p, at := load(t, bpf.Options{}), newNetns(t)
	watch(t, p, at)
	at.halfClose(t, at.Connect(t, nstest.IPv4))
	var wg sync.WaitGroup
	for _, use := range []func() error{
		func() error { return p.Entries(func(*bpf.Socket) error { return nil }) },
		func() error { return p.Walk(func(*bpf.OwnedSocket) error { return nil }) },
		func() error { return p.Descriptors(func(*bpf.Descriptor) error { return nil }) },
		func() error { return p.Watch([]uint64{at.cookie, 1}) },
		func() error { return p.Watch([]uint64{at.cookie}) },
		func() error { return p.Forget([]uint64{1}) },
		func() error { _, err := p.Health(); return err },
	} {
		wg.Go(func() {
			for range 20 {
				if err := use(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if walked := walk(t, p); len(walked) != 2 {
		t.Errorf("the walk reports %d sockets, want both ends", len(walked))
	}
}
