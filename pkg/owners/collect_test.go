// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestFindWithSearchesOnlyForTheSocketsThatItsSourceLacks(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	listed, shared, rest, unasked := newSocket(t, ns), newSocket(t, ns), newSocket(t, ns), newSocket(t, ns)
	me := owners.Process{PID: os.Getpid(), Command: "owners.test"}
	source := func(holds func(owners.Descriptor) error) error {
		for _, h := range []struct {
			socket socket
			pid    int
		}{{listed, me.PID}, {listed, me.PID}, {shared, me.PID}, {unasked, me.PID}, {shared, 1}} {
			if err := holds(owners.Descriptor{
				Inode: h.socket.inode, PID: h.pid, TID: h.pid, FD: 7, Command: map[int]string{me.PID: me.Command, 1: "first"}[h.pid],
			}); err != nil {
				return err
			}
		}
		return nil
	}
	got, err := owners.NewProc("/proc").FindWith(t.Context(), query(owners.AllProcesses, []*nstest.NS{ns}, listed, shared, rest), source)
	if err != nil {
		t.Fatal(err)
	}
	for inode, list := range got {
		for i := range list {
			got[inode][i].ContainerID = "" // that of the test itself
		}
	}
	first := owners.Process{PID: 1, Command: "first"}
	want := map[uint32][]owners.Process{listed.inode: {me}, shared.inode: {first, me}, rest.inode: {me}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFindWithReturnsTheErrorOfItsSource(t *testing.T) {
	t.Parallel()
	s := newSocket(t, nil)
	failed := errors.New("no walk today")
	got, err := owners.NewProc("/proc").FindWith(t.Context(), query(owners.AllProcesses, nil, s), func(holds func(owners.Descriptor) error) error {
		return errors.Join(holds(owners.Descriptor{Inode: s.inode, PID: os.Getpid(), Command: "owners.test"}), failed)
	})
	if !errors.Is(err, failed) || len(got[s.inode]) != 1 {
		t.Errorf("found %v, error %v", got, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err = owners.NewProc("/proc").FindWith(ctx, query(owners.AllProcesses, nil, s), func(holds func(owners.Descriptor) error) error {
		return holds(owners.Descriptor{Inode: s.inode, PID: os.Getpid(), Command: "owners.test"})
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its context is done: %v", err)
	}
}

func TestNetnsWithProcessesFindsTheNamespacesOfVisibleProcesses(t *testing.T) {
	t.Parallel()
	lived, empty := nstest.New(t), nstest.New(t)
	cat(t, lived)
	inodes := map[uint64]struct{}{inodeOf(t, lived.FD()): {}, inodeOf(t, empty.FD()): {}}
	got, err := owners.NewProc("/proc").NetnsWithProcesses(t.Context(), inodes)
	if diff := cmp.Diff(map[uint64]struct{}{inodeOf(t, lived.FD()): {}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}
