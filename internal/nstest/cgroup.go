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

// RunVar is an environment variable with the ID of a run of test suites, by which test/hostcheck recognizes their cgroups.
const RunVar = "HALFCLOSE_TEST_RUN"

// CgroupPrefix returns the prefix of the names of all cgroups that tests create at the top of a hierarchy.
func CgroupPrefix() string {
	if run := os.Getenv(RunVar); run != "" {
		return "halfclose-test-" + run + "-"
	}
	return "halfclose-test-"
}

// Cgroup is a cgroup that is removed when the test ends.
type Cgroup struct {
	dir     string
	v2      bool
	freezes bool // whether its hierarchy has the freezer
}

// NewCgroup creates a cgroup of version 1 or 2, below parent unless that is nil. When the test ends the cgroup is thawed,
// its processes are moved to the root, and it is removed. If the hierarchy is not mounted or not writable, the test is
// skipped.
func NewCgroup(tb testing.TB, version int, parent *Cgroup) *Cgroup {
	tb.Helper()
	c := &Cgroup{v2: version == 2, freezes: true}
	root := hierarchy(tb, c.v2, "freezer")
	above := root
	if parent != nil {
		above = parent.dir
	}
	c.create(tb, root, above)
	return c
}

// NewQuota creates a cgroup whose processes may use this much CPU time in each period, in the cgroup version that has the
// cpu controller here. It is removed like those of NewCgroup.
func NewQuota(tb testing.TB, quota, period time.Duration) *Cgroup {
	tb.Helper()
	micros := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	c := new(Cgroup)
	if len(mounted(tb, false, "cpu")) > 0 {
		root := hierarchy(tb, false, "cpu")
		c.create(tb, root, root)
		c.write(tb, "cpu.cfs_period_us", micros(period))
		c.write(tb, "cpu.cfs_quota_us", micros(quota))
		return c
	}
	c.v2 = true
	root := hierarchy(tb, true, "cpu")
	if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0); err != nil {
		NeedPrivilege(tb, "enable the cpu controller", err)
	}
	c.create(tb, root, root)
	c.write(tb, "cpu.max", micros(quota)+" "+micros(period))
	return c
}

// create creates the cgroup and registers its removal.
func (c *Cgroup) create(tb testing.TB, root, above string) {
	tb.Helper()
	var err error
	if c.dir, err = os.MkdirTemp(above, CgroupPrefix()); err != nil {
		NeedPrivilege(tb, "make a cgroup", err)
	}
	tb.Cleanup(func() {
		if c.freezes {
			c.Thaw(tb)
		}
		text, _ := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
		for pid := range strings.FieldsSeq(string(text)) {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0) // it may have exited
		}
		Eventually(tb, 10*time.Second, "the cgroup is removed", func() bool { return os.Remove(c.dir) == nil })
	})
}

// hierarchy returns the mount point of the root of the hierarchy with a controller.
func hierarchy(tb testing.TB, v2 bool, controller string) string {
	tb.Helper()
	mounts := mounted(tb, v2, controller)
	switch {
	case len(mounts) > 0:
	case v2:
		Skip(tb, "no cgroup v2 hierarchy is mounted")
	default: // most distributions no longer mount any
		tb.Skipf("no cgroup v1 hierarchy with the %s controller is mounted", controller)
	}
	return mounts[0].Mountpoint
}

// mounted lists the mounts of the hierarchy with a controller. Version 2 has all controllers that no version 1 hierarchy
// has.
func mounted(tb testing.TB, v2 bool, controller string) []*mountinfo.Info {
	tb.Helper()
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		has := i.FSType == "cgroup" && slices.Contains(strings.Split(i.VFSOptions, ","), controller)
		return v2 && i.FSType != "cgroup2" || !v2 && !has, false
	})
	if err != nil {
		tb.Fatal(err)
	}
	return mounts
}

// Path returns the directory of the cgroup.
func (c *Cgroup) Path() string { return c.dir }

// Add moves a process into the cgroup.
func (c *Cgroup) Add(tb testing.TB, pid int) {
	tb.Helper()
	c.write(tb, "cgroup.procs", strconv.Itoa(pid))
}

// Freeze freezes the cgroup, waits until its processes are frozen, and thaws it when the test ends.
func (c *Cgroup) Freeze(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { c.Thaw(tb) }) // before the cleanup that waits for its processes
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

// Thaw thaws the cgroup.
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
