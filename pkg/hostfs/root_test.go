// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// node creates a root with /etc/file in it, and links to the file, out of the root, and to no file.
func node(t *testing.T) (dir string, in, out []string) {
	t.Helper()
	dir, away := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "etc/file"), "inside")
	write(t, filepath.Join(away, "secret"), "outside")
	for link, target := range map[string]string{
		"absolute": "/etc/file", "up": "../../../../etc/file", "etc/twice": "/absolute", "dir": "/etc",
		"escape": filepath.Join(away, "secret"), "escape-dir": away, "loop": "loop",
		"escape-up": "../../../../../../../../.." + filepath.Join(away, "secret"),
	} {
		symlink(t, target, filepath.Join(dir, link))
	}
	in = []string{"/etc/file", "//etc/./file", "/../../etc/file", "/absolute", "/up", "/etc/twice", "/dir/file", "/dir/../etc/file"}
	return dir, in, []string{"/escape", "/escape-dir/secret", "/escape-up", "/absent", filepath.Join(away, "secret"), filepath.Join(dir, "etc/file")}
}

// read reads a regular file of up to 100 bytes.
func read(root hostfs.Dir, path string) ([]byte, error) {
	f, err := root.Open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, _, err := hostfs.ReadRegular(f, 100)
	return data, err
}

func TestPathsResolveInsideTheRoot(t *testing.T) {
	dir, in, out := node(t)
	root := openRoot(t, dir)
	for _, path := range in {
		if data, err := read(hostfs.Dir(dir), path); err != nil || string(data) != "inside" {
			t.Errorf("read %s = %q, %v", path, data, err)
		}
		if at, err := hostfs.Dir(dir).Resolve(path); err != nil || at != filepath.Join(dir, "etc/file") {
			t.Errorf("resolve %s = %s, %v", path, at, err)
		}
		if !root.Has(path) {
			t.Errorf("an open root does not have %s", path)
		}
	}
	for _, path := range out {
		if data, err := read(hostfs.Dir(dir), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s = %q, %v, want fs.ErrNotExist", path, data, err)
		}
		if fd, err := root.OpenPath(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s = %d, %v, want fs.ErrNotExist", path, fd, err)
		}
	}
	if _, err := hostfs.Dir(dir).Open("/loop", unix.O_RDONLY); !errors.Is(err, unix.ELOOP) {
		t.Errorf("open a link to itself: %v, want ELOOP", err)
	}
}

func TestLinksResolveAnywhereInTheProcesssOwnRoot(t *testing.T) {
	dir, _, _ := node(t)
	for _, own := range []hostfs.Dir{"", "/", "//", "/.", "/.."} {
		if !own.IsOwn() || own.Check() != nil {
			t.Errorf("%q is not the process's own root", own)
		}
		if data, err := read(own, filepath.Join(dir, "escape")); err != nil || string(data) != "outside" {
			t.Errorf("below %q: %q, %v", own, data, err)
		}
		if !openRoot(t, string(own)).Has(filepath.Join(dir, "escape")) {
			t.Errorf("an open root %q does not have the file", own)
		}
	}
}

// A magic link in a /proc below the root leads out of it.
func TestMagicLinksBelowTheRootAreNotFollowed(t *testing.T) {
	dir, in, _ := node(t)
	if err := os.Mkdir(filepath.Join(dir, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	bind(t, "/proc", filepath.Join(dir, "proc"))
	if f, err := hostfs.Dir(dir).Open("/proc/self/root/etc", unix.O_PATH); err == nil {
		t.Errorf("opened %s", f.Name())
	}
	if _, err := hostfs.Dir(dir).Open(in[0], unix.O_PATH); err != nil {
		t.Error(err)
	}
}

// The kernel gives up on a path with ".." in it while files are renamed anywhere on the system.
func TestPathsResolveWhileOtherProcessesRename(t *testing.T) {
	dir, _, _ := node(t)
	path := "/dir/" + strings.Repeat("../etc/", 3) + "file"
	var wg sync.WaitGroup
	stop := make(chan struct{})
	defer wg.Wait()
	defer close(stop)
	busy := t.TempDir()
	write(t, filepath.Join(busy, "a", "x"), "")
	wg.Go(func() {
		for a, b := filepath.Join(busy, "a"), filepath.Join(busy, "b"); ; a, b = b, a {
			select {
			case <-stop:
				return
			default:
				if err := os.Rename(a, b); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	root := openRoot(t, dir)
	fd, err := root.OpenPath("/")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// The test proves something only after the kernel has given up a few times.
	for gaveUp, deadline := 0, time.Now().Add(30*time.Second); gaveUp < 20; {
		if time.Now().After(deadline) {
			t.Fatalf("the kernel gave up %d times only", gaveUp)
		}
		plain, err := unix.Openat2(fd, path, &unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_IN_ROOT})
		switch {
		case err == nil:
			unix.Close(plain)
		case errors.Is(err, unix.EAGAIN):
			gaveUp++
		}
		if data, err := read(hostfs.Dir(dir), path); err != nil || string(data) != "inside" {
			t.Fatalf("read %q, %v", data, err)
		}
		if !root.Has(path) {
			t.Fatal("an open root does not have the file")
		}
		if data, err := read(hostfs.Dir(dir), "/dir/../escape-up"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a link out of the root leads to %q, %v", data, err)
		}
	}
}

func TestAFIFODoesNotBlock(t *testing.T) {
	dir := t.TempDir()
	mkfifo(t, filepath.Join(dir, "fifo"))
	write(t, filepath.Join(dir, "file"), "inside")
	for _, root := range []hostfs.Dir{hostfs.Dir(dir), ""} {
		path := "/fifo"
		if root.IsOwn() {
			path = filepath.Join(dir, "fifo")
		}
		_, err := read(root, path)
		if _, irregular := errors.AsType[*hostfs.NotRegularError](err); !irregular {
			t.Errorf("read a FIFO: %v", err)
		}
	}
	d := openDirectory(t, hostfs.Dir(dir), "/")
	f, err := d.Follow("fifo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f, err := d.Follow("file"); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

func TestOpenRootRefusesOtherFiles(t *testing.T) {
	for path, want := range map[string]error{filepath.Join(t.TempDir(), "absent"): fs.ErrNotExist, "/dev/null": unix.ENOTDIR} {
		if r, err := hostfs.OpenRoot(path); r != nil || !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("OpenRoot(%s) = %v, %v, want %v", path, r, err, want)
		}
		if err := hostfs.Dir(path).Check(); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Check of %s: %v, want %v", path, err, want)
		}
	}
	if err := errors.Join(hostfs.Probe(), hostfs.Dir(t.TempDir()).Check()); err != nil {
		t.Error(err)
	}
}

func TestARootMayBeClosedDuringItsUse(t *testing.T) {
	dir, in, _ := node(t)
	root := openRoot(t, dir)
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range cap(started) {
		wg.Go(func() {
			started <- struct{}{}
			for root.Has(in[0]) {
			}
		})
	}
	for range cap(started) {
		<-started
	}
	if err := errors.Join(root.Close(), root.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := root.OpenPath(in[0]); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open below a closed root: %v", err)
	}
}

func TestHasIsFalseForTheMountOfADeletedDirectory(t *testing.T) {
	dir := t.TempDir()
	deleted, mounted := filepath.Join(dir, "deleted"), filepath.Join(dir, "mounted")
	if err := errors.Join(os.Mkdir(deleted, 0o700), os.Mkdir(mounted, 0o700)); err != nil {
		t.Fatal(err)
	}
	bind(t, deleted, mounted)
	root := openRoot(t, dir)
	if _, err := hostfs.Dir(dir).OpenDirectory("/mounted"); err != nil || !root.Has("/mounted") {
		t.Errorf("before it is deleted: %v", err)
	}
	if err := os.Remove(deleted); err != nil {
		t.Fatal(err)
	}
	if _, err := hostfs.Dir(dir).OpenDirectory("/mounted"); !errors.Is(err, hostfs.ErrDeleted) || root.Has("/mounted") {
		t.Errorf("after it was deleted: %v", err)
	}
	if !root.Has("/") {
		t.Error("Has(/) is false")
	}
}

func TestMountIDAndNodePath(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"plain", "source", "mounted"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bind(t, filepath.Join(dir, "source"), filepath.Join(dir, "mounted"))
	root := hostfs.Dir(dir)
	if got, want := root.MountID("/mounted"), mountOf(t, filepath.Join(dir, "mounted")); got != want {
		t.Errorf("it is on mount %d, want %d", got, want)
	}
	if root.MountID("/plain") == root.MountID("/mounted") || root.MountID("/plain") == 0 || root.MountID("/absent") != 0 {
		t.Error("two mounts have the same ID, or a missing path has one")
	}
	if info, err := root.Stat("/plain"); err != nil || !info.IsDir() {
		t.Errorf("stat = %v, %v", info, err)
	}
	for path, want := range map[string]string{dir + "/etc": "/etc", dir: "", dir + "-other/etc": "", "/etc": ""} {
		if got, ok := root.NodePath(path); ok != (want != "") || ok && got != want {
			t.Errorf("%s is %q, %v on the node", path, got, ok)
		}
	}
	if got, ok := hostfs.Dir("/").NodePath("/etc"); !ok || got != "/etc" {
		t.Errorf("/etc is %q on the node", got)
	}
}

// mountOf returns the ID of the latest mount at a path.
func mountOf(t *testing.T, path string) (id int) {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[4] == path {
			id, _ = strconv.Atoi(fields[0])
		}
	}
	return id
}
