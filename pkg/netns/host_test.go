// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestTheHostsNamespacesAreThisProcesssAndTheFirstOnes(t *testing.T) {
	first, err := netns.First()
	if err != nil {
		nstest.NeedPrivilege(t, "open the namespace of process 1", err)
	}
	defer first.Close()
	host, err := netns.FindHost()
	if err != nil {
		t.Fatal(err)
	}
	if host.Own != ownIdentity(t) || host.First != first.Stat() || host.Hidden != nil {
		t.Errorf("got %+v", host)
	}
	if all := host.Identities(); !slices.Equal(all, []netns.Identity{ownIdentity(t), first.Stat()}) {
		t.Errorf("got %v", all)
	}
	hidden := netns.Host{Own: ownIdentity(t), Hidden: fs.ErrPermission}
	if all := hidden.Identities(); !slices.Equal(all, []netns.Identity{ownIdentity(t)}) {
		t.Errorf("with process 1 hidden: %v", all)
	}
}

func TestTheHostIsTheProcesssOwnAlsoFromWithinDo(t *testing.T) {
	h := open(t, nstest.New(t).Path())
	err := h.Do(func() error {
		host, err := netns.FindHost()
		if host.Own != ownIdentity(t) || host.Own.Same(h.Stat()) {
			t.Errorf("the host is %v", host.Own)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAPathIsIdentifiedWithItsCookie(t *testing.T) {
	ns := nstest.New(t)
	want, err := open(t, ns.Path()).Identify()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := netns.Identify(ns.Path()); err != nil || id != want {
		t.Errorf("got %v, %v, want %v", id, err, want)
	}
	if _, err := netns.Identify(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent path: %v", err)
	}
	if _, err := netns.Identify("/dev/null"); !errors.Is(err, netns.ErrNotNamespace) {
		t.Errorf("a device: %v", err)
	}
}
