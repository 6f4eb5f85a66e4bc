// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
)

// Cgroup is a cgroup of a test's own that can freeze processes, or that limits their CPU time.
type Cgroup struct {
	dir string
	v2  bool
}

// NewCgroup makes a cgroup of that version, with that parent unless it is nil, which is thawed and removed with the
// test. Processes that are still in it are moved to the root. The test is skipped where the hierarchy is not mounted or
// must not be changed.
func NewCgroup(tb testing.TB, version int, parent *Cgroup) *Cgroup {
	tb.Helper()
	c := &Cgroup{v2: version == 2}
	root := hierarchy(tb, c.v2)
	above := root
	if parent != nil {
		above = parent.dir
	}
	c.create(tb, root, above, c.Thaw)
	return c
}

// NewQuota makes a cgroup whose processes together get so much CPU time in each period. It is removed with the test.
// Processes that are still in it are moved to the root. The test is skipped where there is no controller for that.
func NewQuota(tb testing.TB, quota, period time.Duration) *Cgroup {
	tb.Helper()
	c := new(Cgroup)
	root, ok := mountOf(tb, "cgroup", "cpu")
	if !ok {
		if root, ok = mountOf(tb, "cgroup2", ""); ok {
			ok = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0) == nil
		}
		c.v2 = true
	}
	if !ok {
		tb.Skip("no controller limits CPU time here")
	}
	c.create(tb, root, root, func(testing.TB) {})
	limit := [2]string{strconv.FormatInt(quota.Microseconds(), 10), strconv.FormatInt(period.Microseconds(), 10)}
	if c.v2 {
		c.write(tb, "cpu.max", limit[0]+" "+limit[1])
	} else {
		c.write(tb, "cpu.cfs_period_us", limit[1])
		c.write(tb, "cpu.cfs_quota_us", limit[0])
	}
	return c
}

// create makes the directory of the cgroup, which is removed with the test, after release.
func (c *Cgroup) create(tb testing.TB, root, above string, release func(testing.TB)) {
	tb.Helper()
	var err error
	if c.dir, err = os.MkdirTemp(above, "halfclose-test-"); err != nil {
		NeedPrivilege(tb, "make a cgroup", err)
	}
	tb.Cleanup(func() {
		release(tb)
		text, _ := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
		for pid := range strings.FieldsSeq(string(text)) {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0) // it may have exited
		}
		Eventually(tb, 10*time.Second, "the cgroup is removed", func() bool { return os.Remove(c.dir) == nil })
	})
}

// hierarchy returns where the hierarchy that freezes is mounted, from its root on.
func hierarchy(tb testing.TB, v2 bool) string {
	tb.Helper()
	fstype, controller := "cgroup", "freezer"
	if v2 {
		fstype, controller = "cgroup2", ""
	}
	root, ok := mountOf(tb, fstype, controller)
	if !ok {
		tb.Skipf("the hierarchy of cgroups that freezes is not mounted here (version 2: %t)", v2)
	}
	return root
}

// mountOf returns where a hierarchy of cgroups is mounted, false if it is not. The controller is "" for that of version 2.
func mountOf(tb testing.TB, fstype, controller string) (string, bool) {
	tb.Helper()
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		has := controller == "" || slices.Contains(strings.Split(i.VFSOptions, ","), controller)
		return i.FSType != fstype || !has, false
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(mounts) == 0 {
		return "", false
	}
	return mounts[0].Mountpoint, true
}

// Path returns the directory of the cgroup.
func (c *Cgroup) Path() string { return c.dir }

// Add moves a process into the cgroup.
func (c *Cgroup) Add(tb testing.TB, pid int) {
	tb.Helper()
	c.write(tb, "cgroup.procs", strconv.Itoa(pid))
}

// Freeze freezes the processes of the cgroup and of those below, until the test ends or Thaw is called, and waits until
// they are frozen.
func (c *Cgroup) Freeze(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { c.Thaw(tb) }) // before what waits for its processes
	file, text, isFrozen := "freezer.state", "FROZEN", "FROZEN"
	if c.v2 {
		file, text, isFrozen = "cgroup.freeze", "1", "frozen 1"
	}
	c.write(tb, file, text)
	if c.v2 {
		file = "cgroup.events"
	}
	Eventually(tb, 10*time.Second, "frozen", func() bool {
		now, err := os.ReadFile(filepath.Join(c.dir, file))
		return err == nil && strings.Contains(string(now), isFrozen)
	})
}

// Thaw lets them run again.
func (c *Cgroup) Thaw(tb testing.TB) {
	tb.Helper()
	if c.v2 {
		c.write(tb, "cgroup.freeze", "0")
	} else {
		c.write(tb, "freezer.state", "THAWED")
	}
}

func (c *Cgroup) write(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0); err != nil {
		tb.Errorf("write to a cgroup: %v", err)
	}
}
