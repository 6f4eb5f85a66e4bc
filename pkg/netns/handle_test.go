// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestIdentityDiffersBetweenNamespaces(t *testing.T) {
	a, err := open(t, nstest.New(t).Path()).Identify()
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(t, nstest.New(t).Path()).Identify()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []netns.Identity{a, b} {
		if id.Dev == 0 || id.Inode == 0 {
			t.Errorf("identity %+v has no device or inode", id)
		}
		if id.Cookie == 0 {
			t.Errorf("identity %+v has no cookie: is this kernel older than 5.14?", id)
		}
	}
	if a.Same(b) || a.Cookie == b.Cookie || a.Inode == b.Inode {
		t.Errorf("two namespaces are %v and %v, want them different", a, b)
	}
}

func TestIdentityIsTheSameForEveryPath(t *testing.T) {
	ns := nstest.New(t)
	dir := t.TempDir()
	link := symlink(t, ns.Path(), filepath.Join(dir, "link"))
	symlink(t, dir, dir+"-link")
	t.Cleanup(func() { os.Remove(dir + "-link") })
	want, err := open(t, ns.Path()).Identify()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir + "-link/link", dir + "/../" + filepath.Base(dir) + "/link"} {
		h := open(t, path)
		got, err := h.Identify()
		if err != nil {
			t.Fatal(err)
		}
		if got != want || !got.Same(want) || !h.Stat().Same(want) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
		if h.Stat().Cookie != 0 {
			t.Errorf("Stat of %s has cookie %d, want 0", path, h.Stat().Cookie)
		}
	}
}

func TestOpenOwnOpensTheNamespaceOfTheProcess(t *testing.T) {
	// Not that of /proc/self, the main thread: another test may have left it in another namespace.
	want, err := here()
	if err != nil {
		t.Fatal(err)
	}
	if got := ownIdentity(t); got != want {
		t.Errorf("Own = %v, want %v", got, want)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, text string }{
		{"a plain file, as below a mount that is not visible", plain, "propagation"},
		{"a link to a plain file", symlink(t, plain, filepath.Join(dir, "link")), "propagation"},
		{"a FIFO, without blocking", fifo, "FIFO"},
		{"a directory", dir, "directory"},
		{"a device", "/dev/null", "device"},
		{"a plain file of /proc", "/proc/self/status", "plain file"},
		{"a mnt namespace", "/proc/self/ns/mnt", "(mnt)"},
		{"a uts namespace", "/proc/self/ns/uts", "(uts)"},
		{"a user namespace", "/proc/self/ns/user", "(user)"},
		{"a pid namespace", "/proc/self/ns/pid", "(pid)"},
		{"an ipc namespace", "/proc/self/ns/ipc", "(ipc)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := netns.Open(tc.path)
			if h != nil || !errors.Is(err, netns.ErrNotNamespace) {
				t.Fatalf("Open = %v, %v, want ErrNotNamespace", h, err)
			}
			if !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), tc.path) {
				t.Errorf("error %q lacks %q or the path", err, tc.text)
			}
		})
	}
}

func TestOpenOfAMissingPathIsErrNotExist(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{
		filepath.Join(dir, "absent"), filepath.Join(dir, "absent", "below"),
		symlink(t, "absent", filepath.Join(dir, "dangling")), "/proc/999999999/ns/net",
	} {
		if h, err := netns.Open(path); h != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s = %v, %v, want fs.ErrNotExist", path, h, err)
		}
	}
	loop := symlink(t, "loop", filepath.Join(dir, "loop"))
	for path, want := range map[string]error{loop: unix.ELOOP, "/a\x00b": unix.EINVAL} {
		if h, err := netns.Open(path); h != nil || !errors.Is(err, want) {
			t.Errorf("open %q = %v, %v, want %v", path, h, err, want)
		}
	}
	for _, path := range []string{"", "proc/self/ns/net", "./x"} {
		if h, err := netns.Open(path); h != nil || err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %q = %v, %v, want the error that it is not absolute", path, h, err)
		}
	}
}

// The kernel deletes a veth pair with the namespace of either end.
func TestCloseUnpinsTheNamespace(t *testing.T) {
	here, there := nstest.New(t), nstest.New(t)
	here.Do(t, func() {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "there"}
		veth.Name = "here"
		veth.PeerNamespace = netlink.NsFd(there.FD())
		if err := netlink.LinkAdd(veth); err != nil {
			t.Errorf("add veth pair: %v", err)
		}
	})
	exists := func() (ok bool) {
		here.Do(t, func() {
			_, err := netlink.LinkByName("here")
			ok = err == nil
		})
		return ok
	}
	h := open(t, there.Path())
	if _, err := h.Identify(); err != nil {
		t.Fatal(err)
	}
	there.Close()
	if _, err := h.Identify(); err != nil || !exists() {
		t.Fatalf("the namespace is deleted despite an open handle (%v)", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 30*time.Second, "the veth pair is deleted", func() bool { return !exists() })
}

func TestBootIDIsTheSameAtEachCall(t *testing.T) {
	a, err := netns.BootID()
	if err != nil {
		t.Fatal(err)
	}
	b, err := netns.BootID()
	if err != nil || a != b || len(a) != len("00000000-0000-0000-0000-000000000000") {
		t.Errorf("BootID = %q, then %q (%v), want the same UUID", a, b, err)
	}
}
