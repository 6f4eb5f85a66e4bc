// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/cgroup"
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
type Cgroup struct{ group *cgroup.Cgroup }

// NewCgroup creates a cgroup of version 1 or 2, below parent unless that is nil. When the test ends the cgroup is thawed,
// its processes are moved to the root, and it is removed. If the hierarchy is not mounted or not writable, the test is
// skipped.
func NewCgroup(tb testing.TB, version int, parent *Cgroup) *Cgroup {
	tb.Helper()
	var above *cgroup.Cgroup
	if parent != nil {
		above = parent.group
	}
	group, err := cgroup.New(version, above, CgroupPrefix())
	if errors.Is(err, cgroup.ErrNotMounted) && version == 1 { // most distributions no longer mount any
		tb.Skip(err)
	}
	return use(tb, group, err)
}

// NewQuota creates a cgroup whose processes may use this much CPU time in each period, in the cgroup version that has the
// cpu controller here. It is removed like those of NewCgroup.
func NewQuota(tb testing.TB, quota, period time.Duration) *Cgroup {
	tb.Helper()
	group, err := cgroup.NewQuota(quota, period, CgroupPrefix())
	return use(tb, group, err)
}

// use registers the removal of a new cgroup. If it could not be created, the test is skipped.
func use(tb testing.TB, group *cgroup.Cgroup, err error) *Cgroup {
	tb.Helper()
	if errors.Is(err, cgroup.ErrNotMounted) {
		Skip(tb, err.Error())
	}
	if err != nil {
		NeedPrivilege(tb, "make a cgroup", err)
	}
	tb.Cleanup(func() {
		Eventually(tb, 10*time.Second, "the cgroup is removed", func() bool { return group.Remove() == nil })
	})
	return &Cgroup{group}
}

// Path returns the directory of the cgroup.
func (c *Cgroup) Path() string { return c.group.Path() }

// Add moves a process into the cgroup.
func (c *Cgroup) Add(tb testing.TB, pid int) {
	tb.Helper()
	if err := c.group.Add(pid); err != nil {
		tb.Error(err)
	}
}

// Freeze freezes the cgroup, waits until its processes are frozen, and thaws it when the test ends.
func (c *Cgroup) Freeze(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { c.Thaw(tb) }) // before the cleanup that waits for its processes
	if err := c.group.Freeze(); err != nil {
		tb.Error(err)
	}
	Eventually(tb, 10*time.Second, "frozen", func() bool {
		frozen, err := c.group.IsFrozen()
		return err == nil && frozen
	})
}

// Thaw thaws the cgroup.
func (c *Cgroup) Thaw(tb testing.TB) {
	tb.Helper()
	if err := c.group.Thaw(); err != nil {
		tb.Error(err)
	}
}
