// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Process 1 of a machine may be inaccessible even for root. The test runs in a PID namespace whose process 1 is a shell in
// another network namespace.
func TestFindHostReturnsTheNamespacesOfThisProcessAndOfProcess1(t *testing.T) {
	const child = "HALFCLOSE_TEST_HOST"
	if os.Getenv(child) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
			"sh", "-c", `unshare --net "$0" "$@"; exit $?`, self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	first, err := netns.OpenPID1()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	host, err := netns.FindHost()
	if err != nil {
		t.Fatal(err)
	}
	own := ownIdentity(t)
	if own.Same(first.Stat()) || host.Own != own || host.PID1 != first.Stat() || host.PID1Err != nil {
		t.Errorf("got %+v, want %v and %v", host, own, first.Stat())
	}
	if all := host.Identities(); !slices.Equal(all, []netns.Identity{own, first.Stat()}) {
		t.Errorf("got %v", all)
	}
}

func TestIdentitiesWithoutProcess1HasThisProcesssOnly(t *testing.T) {
	own := ownIdentity(t)
	hidden := netns.Host{Own: own, PID1Err: fs.ErrPermission}
	if all := hidden.Identities(); !slices.Equal(all, []netns.Identity{own}) {
		t.Errorf("got %v", all)
	}
}

func TestFindHostInDoReturnsTheProcesssOwnNamespace(t *testing.T) {
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

func TestIdentifyReturnsTheCookie(t *testing.T) {
	ns := nstest.New(t)
	want, err := open(t, ns.Path()).Identify()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := netns.Identify(ns.Path()); err != nil || id != want {
		t.Errorf("got %v, %v, want %v", id, err, want)
	}
	if _, err := netns.Identify(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing path: %v", err)
	}
	if _, err := netns.Identify("/dev/null"); !errors.Is(err, netns.ErrNotNamespace) {
		t.Errorf("a device: %v", err)
	}
}
