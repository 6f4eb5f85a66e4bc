// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
)

func TestAnInstallerWaitsForTheLock(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	open := func() *directory {
		t.Helper()
		d, err := n.config.openDirectory(n.config.ConfDir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first, second := open(), open()
	defer second.Close()
	if _, err := first.Lock(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Lock(t.Context(), 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "another halfclose install or uninstall is running") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Install(ctx, n.config); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after a timeout it returns %v", err)
	}
	if mode := stat(t, n.path(".halfclose.lock")).Mode; mode != unix.S_IFREG|0o600 {
		t.Errorf("the lock file has mode %o", mode)
	}
	done := n.begin(t)
	first.Close()
	if r := <-done; !r.Changed {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
}

// An unprivileged user can take a lock on anything that it can open, which are the directories and the networks.
func TestALockOfAnotherUserDelaysNothing(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	if err := os.Chmod(filepath.Dir(n.dir()), 0o755); err != nil { // which only root can enter
		t.Fatal(err)
	}
	// flockAll locks everything that an unprivileged user can open.
	flockAll := func() {
		asUser(t, func() {
			for _, dir := range []string{n.config.ConfDir, n.config.BinDir} {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Error(err)
				}
				paths := []string{dir}
				for _, e := range entries {
					paths = append(paths, filepath.Join(dir, e.Name()))
				}
				for _, path := range paths {
					f, err := os.Open(path)
					if err != nil {
						t.Errorf("an unprivileged user cannot open it: %v", err)
						continue
					}
					t.Cleanup(func() { f.Close() })
					if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	flockAll()
	began := time.Now()
	n.install(t)
	flockAll()
	w := n.watch(t, defaultTimes(), newBackoff())
	w.wait(t, Installed)
	renameTo(t, n.path("10-pods.conflist"), foreignList)
	w.wait(t, Restored)
	w.stop()
	flockAll()
	if _, err := Uninstall(t.Context(), n.config, RemovePrograms); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > atomicdir.LockTimeout/3 {
		t.Errorf("it took %v", took)
	}
	n.checkForeign(t, foreignList)
	// The lock file itself cannot be opened.
	d, err := n.config.openDirectory(n.config.ConfDir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Lock(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	asUser(t, func() {
		if f, err := os.Open(n.path(".halfclose.lock")); !errors.Is(err, unix.EACCES) {
			f.Close()
			t.Errorf("an unprivileged user opens the lock file: %v", err)
		}
	})
}
