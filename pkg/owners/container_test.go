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

// TestAProcessIsInTheContainerThatItsCgroupIsNamedAfter puts a process into a cgroup as Docker would, and
// leaves one where it is.
func TestAProcessIsInTheContainerThatItsCgroupIsNamedAfter(t *testing.T) {
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
		t.Errorf("holders (-want +got):\n%s", diff)
	}
}

// hierarchy is where the test's own cgroup is, in a hierarchy that takes no settings.
func hierarchy(t *testing.T) string {
	t.Helper()
	places := make(map[string]string) // by what the hierarchy is
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
	t.Skip("no cgroup hierarchy is mounted")
	return ""
}
