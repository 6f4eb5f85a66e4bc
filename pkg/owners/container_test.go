// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// TestOwnersHaveTheContainerOfTheirCgroup puts one process into a cgroup like Docker's, and leaves another one in the test's.
func TestOwnersHaveTheContainerOfTheirCgroup(t *testing.T) {
	t.Parallel()
	const id = "5f3c9d1e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d"
	dir := filepath.Join(hierarchy(t), "halfclose-test-"+strconv.Itoa(os.Getpid()), "docker-"+id+".scope")
	if err := os.MkdirAll(dir, 0o755); errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		nstest.NeedPrivilege(t, "make a cgroup", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nstest.Eventually(t, patience, "the cgroup is empty", func() bool {
			return os.Remove(dir) == nil && os.Remove(filepath.Dir(dir)) == nil
		})
	})
	s := newSocket(t, nil)
	within, without := cat(t, nil, s), cat(t, nil, s)
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(within.PID)), 0); err != nil {
		t.Fatal(err)
	}
	within.ContainerID = id
	want := []owners.Process{within.Process, without.Process}
	got := find(t, owners.NewProc("/proc"), query(owners.AllProcesses, nil, s))
	if diff := cmp.Diff(want, got[s.inode]); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

// hierarchy returns the directory of the test's own cgroup, in a hierarchy without limits.
func hierarchy(t *testing.T) string {
	t.Helper()
	places := make(map[string]string) // by kind of hierarchy
	for line := range strings.Lines(read(t, "/proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		places[f[1]] = f[2]
	}
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		f := strings.Fields(line)
		fs := f[len(f)-3:] // type, device, options
		if place, ok := places[""]; ok && fs[0] == "cgroup2" && f[3] == "/" {
			return filepath.Join(f[4], place)
		}
		if place, ok := places["name=systemd"]; ok && fs[0] == "cgroup" && f[3] == "/" && strings.HasSuffix(fs[2], "name=systemd") {
			return filepath.Join(f[4], place)
		}
	}
	nstest.Skip(t, "no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup")
	return ""
}
