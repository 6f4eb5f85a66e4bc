// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The reaper starts in a cgroup of the test and in a cgroup namespace, whose roots are the cgroups of this process. So it
// leaves only the test's cgroup.
func TestTheReaperLeavesItsCgroup(t *testing.T) {
	tested := 0
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		fstype, controllers, path := "cgroup", part[1], part[2]
		switch {
		case controllers == "":
			fstype = "cgroup2"
		case controllers != "pids" && controllers != "name=systemd": // one of each kind is enough
			continue
		}
		hierarchy := mountpoint(fstype, controllers)
		if hierarchy == "" {
			continue
		}
		tested++
		t.Run(fstype+" "+controllers, func(t *testing.T) {
			dir := filepath.Join(hierarchy, path, "halfclose-test-"+strconv.Itoa(os.Getpid()))
			if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
				nstest.NeedPrivilege(t, "create a cgroup", err)
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				nstest.Eventually(t, 30*time.Second, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
			})
			r := runPlugin(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS},
				mountVar+"="+fstype+":"+controllers+":"+t.TempDir(), cgroupVar+"="+filepath.Join(dir, "cgroup.procs"))

			place := func(path string) string { return ":" + controllers + ":" + path + "\n" }
			if want := place("/" + filepath.Base(dir)); !strings.Contains(r.CgroupsBefore+"\n", want) {
				t.Fatalf("before, not %q in\n%s", want, r.CgroupsBefore)
			}
			if want := place("/"); !strings.Contains(r.CgroupsAfter+"\n", want) {
				t.Errorf("after, not %q in\n%s", want, r.CgroupsAfter)
			}
			if r.DetachErr != "" {
				t.Errorf("detach: %s", r.DetachErr)
			}
			if r.OOMScoreAfter != "0" {
				t.Errorf("oom_score_adj is %s", r.OOMScoreAfter)
			}
			if r.Name != "halfclose" {
				t.Errorf("the process has the name %q", r.Name)
			}
			if r.UmaskAfter != "0077" {
				t.Errorf("umask is %s", r.UmaskAfter)
			}
		})
	}
	if tested == 0 {
		nstest.Skip(t, "no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup")
	}
}

// mountpoint returns where a hierarchy's root is mounted, "" for nowhere.
func mountpoint(fstype, controllers string) string {
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		f := strings.Fields(line)
		fs := f[len(f)-3:]
		if f[3] == "/" && fs[0] == fstype && (controllers == "" || strings.HasSuffix(fs[2], ","+controllers)) {
			return f[4]
		}
	}
	return ""
}
