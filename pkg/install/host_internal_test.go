// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// below creates a node's file system below a root. Its symbolic links resolve only within that root.
func below(t *testing.T) (node, string) {
	t.Helper()
	root := t.TempDir()
	n := newNode(t, nil)
	n.config.HostRoot, n.config.BinDir, n.config.ConfDir = root, "/opt/cni/bin", "/etc/cni/net.d"
	write(t, filepath.Join(root, "usr/lib/cni/bridge"), "a program")
	write(t, filepath.Join(root, "var/cni/10-pods.conflist"), bridgeList)
	old(t, filepath.Join(root, "var/cni/10-pods.conflist"))
	for link, target := range map[string]string{
		"opt/cni/bin": "/usr/lib/cni", "etc/cni/net.d": "../../../../../var/cni",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return n, root
}

func TestPathsBelowAHostRootAreTheNodes(t *testing.T) {
	n, root := below(t)
	r := n.install(t)
	if r.File != "/etc/cni/net.d/10-pods.conflist" || r.Plugin.Path != "/opt/cni/bin/halfclose" || !r.Changed || !r.Plugin.Changed {
		t.Errorf("got %+v", r)
	}
	n.config.ConfDir = filepath.Join(root, "var/cni")
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	if data, err := os.ReadFile(filepath.Join(root, "usr/lib/cni/halfclose")); err != nil || string(data) != "the program" {
		t.Errorf("got %q, %v", data, err)
	}
	// A link to the command would be dangling on the node.
	if data, err := os.ReadFile(filepath.Join(root, "usr/lib/cni/halfclose-reaper")); err != nil || string(data) != theCommand || r.Reaper.Link != "" {
		t.Errorf("got %q, %v, %+v", data, err, r.Reaper)
	}
	if len(r.Warnings) > 0 {
		t.Errorf("warnings %q", r.Warnings)
	}
	// A network file that is a link resolves below the root too.
	n.config.ConfDir = "/etc/cni/net.d"
	if err := os.Symlink("/var/lib/other", filepath.Join(root, "var/cni/00-link.conflist")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "var/lib/other"), otherList)
	if _, err := Install(t.Context(), n.config); err == nil || !strings.Contains(err.Error(), "00-link.conflist is a symbolic link") {
		t.Errorf("got %v", err)
	}
	if r := n.uninstall(t); len(r.Files) != 1 || r.Files[0].File != "/etc/cni/net.d/10-pods.conflist" {
		t.Errorf("got %+v", r)
	}
}

func TestWatchSeesChangesBelowAHostRoot(t *testing.T) {
	t.Parallel()
	n, root := below(t)
	w := n.watch(t, defaultTimes(), newBackoff())
	w.wait(t, Installed)
	renameTo(t, filepath.Join(root, "var/cni/10-pods.conflist"), foreignList)
	if e := w.wait(t, Restored); e.Result.File != "/etc/cni/net.d/10-pods.conflist" {
		t.Errorf("got %+v", e)
	}
}

func TestAMissingHostRootIsAnError(t *testing.T) {
	n, root := below(t)
	n.config.HostRoot = filepath.Join(root, "none")
	if _, err := Install(t.Context(), n.config); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("got %v", err)
	}
}

func TestTheErrorForAReadOnlyDirectoryHasARemedy(t *testing.T) {
	for _, dir := range []string{"net.d", "bin"} {
		n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
		readOnly(t, filepath.Join(n.dir(), dir))
		_, err := Install(t.Context(), n.config)
		if err == nil || !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "mount it writable") {
			t.Errorf("got %v", err)
		}
	}
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	n.install(t)
	readOnly(t, n.config.ConfDir)
	readOnly(t, n.config.BinDir)
	if r := n.install(t); r.Changed || r.Plugin.Changed {
		t.Errorf("with nothing to write: %+v", r)
	}
}

// readOnly mounts a directory read-only.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	err := unix.Mount(dir, dir, "", unix.MS_BIND, "")
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "mount a directory", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}
