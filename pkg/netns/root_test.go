// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

// hostRoot creates a root directory with ns at /run/netns/pod, bind-mounted as a runtime does. It unmounts it after the test.
func hostRoot(t *testing.T, ns *nstest.NS) (dir string, root *netns.Root) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"run/netns", "var", "proc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bind(t, ns.Path(), filepath.Join(dir, "run/netns/pod"))
	root, err := netns.NewRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return dir, root
}

func bind(t *testing.T, source, target string) {
	t.Helper()
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount(source, target, "", unix.MS_BIND, "")
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "bind-mount a network namespace", err)
	}
	if err != nil {
		t.Fatalf("bind-mount %s: %v", source, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}

func TestPathsResolveInsideTheHostRoot(t *testing.T) {
	inside, outside := nstest.New(t), nstest.New(t)
	dir, root := hostRoot(t, inside)
	away := t.TempDir()
	bind(t, outside.Path(), filepath.Join(away, "pod"))
	want := open(t, inside.Path()).Stat()

	symlink(t, "/run", filepath.Join(dir, "var/run"))
	symlink(t, "/run/netns/pod", filepath.Join(dir, "absolute"))
	symlink(t, "../../../../../../run/netns/pod", filepath.Join(dir, "up"))
	for _, path := range []string{
		"/run/netns/pod", "/var/run/netns/pod", "/absolute", "/up", "/../../run/netns/pod", "//run/./netns//pod",
		"/proc/../run/netns/pod",
	} {
		h, err := root.Open(path)
		if err != nil {
			t.Errorf("open %s: %v", path, err)
			continue
		}
		if h.Stat() != want {
			t.Errorf("%s leads to %v, want %v", path, h.Stat(), want)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}

	// Paths that lead out of the root elsewhere lead to no file here.
	symlink(t, filepath.Join(away, "pod"), filepath.Join(dir, "escape"))
	symlink(t, away, filepath.Join(dir, "escape-dir"))
	symlink(t, "../../../../../../../../../.."+away+"/pod", filepath.Join(dir, "escape-up"))
	symlink(t, "/proc/self/ns/net", filepath.Join(dir, "escape-proc"))
	for _, path := range []string{
		"/escape", "/escape-dir/pod", "/escape-up", "/escape-proc", away + "/pod", dir + "/run/netns/pod", "/absent",
	} {
		if h, err := root.Open(path); h != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s = %v, %v, want fs.ErrNotExist", path, h, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := root.Open("/plain"); h != nil || !errors.Is(err, netns.ErrNotNamespace) {
		t.Errorf("open /plain = %v, %v, want ErrNotNamespace", h, err)
	}
	if h, err := root.Open("run/netns/pod"); h != nil || err == nil {
		t.Errorf("open a relative path = %v, %v, want an error", h, err)
	}
}

// A magic link in a /proc below the root leads out of it.
func TestMagicLinksBelowTheHostRootAreNotFollowed(t *testing.T) {
	ns := nstest.New(t)
	dir, root := hostRoot(t, ns)
	proc := filepath.Join(dir, "other-proc")
	if err := os.Mkdir(proc, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc", proc, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("bind-mount /proc: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", proc, err)
		}
	})
	if h, err := root.Open("/other-proc" + ns.Path()[len("/proc"):]); h != nil || err == nil {
		t.Errorf("open = %v, %v, want an error", h, err)
	}
}

func TestPathsUnderProcResolveInTheProcesssOwnProc(t *testing.T) {
	ns := nstest.New(t)
	dir, root := hostRoot(t, nstest.New(t))
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(ns.Path())), 0o700); err != nil {
		t.Fatal(err)
	}
	bind(t, nstest.New(t).Path(), filepath.Join(dir, ns.Path()))
	for _, path := range []string{ns.Path(), "/run/.." + ns.Path()} {
		h, err := root.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := open(t, ns.Path()).Stat(); h.Stat() != want {
			t.Errorf("%s leads to %v, want %v", path, h.Stat(), want)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheProcesssOwnRoot(t *testing.T) {
	ns := nstest.New(t)
	for _, dir := range []string{"", "/", "//", "/.", "/.."} {
		root, err := netns.NewRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		h, err := root.Open(symlink(t, ns.Path(), filepath.Join(t.TempDir(), "link")))
		if err != nil {
			t.Fatalf("root %q: %v", dir, err)
		}
		if want := open(t, ns.Path()).Stat(); h.Stat() != want {
			t.Errorf("root %q: leads to %v, want %v", dir, h.Stat(), want)
		}
		if err := errors.Join(h.Close(), root.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestNewRootRefusesOtherFiles(t *testing.T) {
	for path, want := range map[string]error{
		filepath.Join(t.TempDir(), "absent"): fs.ErrNotExist,
		"/dev/null":                          unix.ENOTDIR,
	} {
		if r, err := netns.NewRoot(path); r != nil || !errors.Is(err, want) {
			t.Errorf("NewRoot(%s) = %v, %v, want %v", path, r, err, want)
		}
	}
}

func TestARootMayBeClosedDuringItsUse(t *testing.T) {
	ns := nstest.New(t)
	_, root := hostRoot(t, ns)
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range cap(started) {
		wg.Go(func() {
			started <- struct{}{}
			for {
				h, err := root.Open("/run/netns/pod")
				if err != nil {
					return
				}
				h.Close()
			}
		})
	}
	for range cap(started) {
		<-started
	}
	if err := root.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if h, err := root.Open("/run/netns/pod"); h != nil || err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open below a closed root = %v, %v, want an error", h, err)
	}
}

func TestSeesDirOfNeedsTheDirectoryBelowTheRoot(t *testing.T) {
	dir, below := hostRoot(t, nstest.New(t))
	own, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := os.Symlink("../run", filepath.Join(dir, "var/run")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/run/netns/gone": true, "/var/run/netns/gone": true, "/run/other/gone": false, "/proc/4194305/ns/net": true} {
		if got := below.SeesDirOf(path); got != want {
			t.Errorf("below the host root, the directory of %s: %v", path, got)
		}
	}

	// A mount can show a deleted directory.
	deleted, mounted := filepath.Join(dir, "deleted"), filepath.Join(dir, "mounted")
	for _, d := range []string{deleted, mounted} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(deleted, mounted, "", unix.MS_BIND, ""); err != nil {
		nstest.NeedPrivilege(t, "mount a directory", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mounted, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	gone := filepath.Join(mounted, "gone")
	if !own.SeesDirOf(gone) {
		t.Error("SeesDirOf is false for a mounted directory")
	}
	if err := os.Remove(deleted); err != nil {
		t.Fatal(err)
	}
	if own.SeesDirOf(gone) {
		t.Error("SeesDirOf is true for the mount of a deleted directory")
	}
}
