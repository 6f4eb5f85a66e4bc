// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package cgroup creates cgroups of version 1 or 2 that freeze processes or limit their CPU time. Tests use it.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
)

// ErrNotMounted means that no hierarchy with the controller is mounted.
var ErrNotMounted = errors.New("no such cgroup hierarchy is mounted")

// Cgroup is a cgroup. Remove removes it.
type Cgroup struct {
	dir, root string
	v2        bool
	freezes   bool // whether its hierarchy has the freezer
}

// New creates a cgroup of version 1 or 2 with the freezer, below parent unless that is nil. Its name starts with prefix.
func New(version int, parent *Cgroup, prefix string) (*Cgroup, error) {
	c := &Cgroup{v2: version == 2, freezes: true}
	var err error
	if c.root, err = hierarchy(c.v2, "freezer"); err != nil {
		return nil, err
	}
	above := c.root
	if parent != nil {
		above = parent.dir
	}
	c.dir, err = os.MkdirTemp(above, prefix)
	return c, err
}

// NewQuota creates a cgroup whose processes may use this much CPU time in each period, in the cgroup version that has the
// cpu controller here.
func NewQuota(quota, period time.Duration, prefix string) (*Cgroup, error) {
	c := new(Cgroup)
	var err error
	if c.root, err = hierarchy(false, "cpu"); errors.Is(err, ErrNotMounted) {
		c.v2, c.freezes = true, true
		if c.root, err = hierarchy(true, "cpu"); err == nil {
			err = os.WriteFile(filepath.Join(c.root, "cgroup.subtree_control"), []byte("+cpu"), 0)
		}
	}
	if err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp(c.root, prefix); err != nil {
		return nil, err
	}
	micros := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	if c.v2 {
		err = c.write("cpu.max", micros(quota)+" "+micros(period))
	} else {
		err = errors.Join(c.write("cpu.cfs_period_us", micros(period)), c.write("cpu.cfs_quota_us", micros(quota)))
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(c.dir))
	}
	return c, nil
}

// hierarchy returns the mount point of the root of the hierarchy with a controller. Version 2 has all controllers that no
// version 1 hierarchy has.
func hierarchy(v2 bool, controller string) (string, error) {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		has := i.FSType == "cgroup" && slices.Contains(strings.Split(i.VFSOptions, ","), controller)
		return v2 && i.FSType != "cgroup2" || !v2 && !has, false
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("list cgroup hierarchies: %w", err)
	case len(mounts) > 0:
		return mounts[0].Mountpoint, nil
	case v2:
		return "", fmt.Errorf("%w: cgroup v2", ErrNotMounted)
	}
	return "", fmt.Errorf("%w: cgroup v1 with the %s controller", ErrNotMounted, controller)
}

// Path returns the directory of the cgroup.
func (c *Cgroup) Path() string { return c.dir }

// Add moves a process into the cgroup.
func (c *Cgroup) Add(pid int) error { return c.write("cgroup.procs", strconv.Itoa(pid)) }

// Freeze freezes the cgroup. Its processes are frozen once IsFrozen reports it.
func (c *Cgroup) Freeze() error {
	if c.v2 {
		return c.write("cgroup.freeze", "1")
	}
	return c.write("freezer.state", "FROZEN")
}

// IsFrozen reports whether all its processes are frozen.
func (c *Cgroup) IsFrozen() (bool, error) {
	file, frozen := "freezer.state", "FROZEN"
	if c.v2 {
		file, frozen = "cgroup.events", "frozen 1"
	}
	text, err := os.ReadFile(filepath.Join(c.dir, file))
	return strings.Contains(string(text), frozen), err
}

// Thaw thaws the cgroup.
func (c *Cgroup) Thaw() error {
	if c.v2 {
		return c.write("cgroup.freeze", "0")
	}
	return c.write("freezer.state", "THAWED")
}

// Remove thaws the cgroup, moves its processes to the root and removes it. The kernel may need some time until a cgroup whose
// processes have left can be removed: then the error is EBUSY, and Remove may be called again.
func (c *Cgroup) Remove() error {
	if c.freezes {
		if err := c.Thaw(); err != nil {
			return err
		}
	}
	text, _ := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
	for pid := range strings.FieldsSeq(string(text)) {
		_ = os.WriteFile(filepath.Join(c.root, "cgroup.procs"), []byte(pid), 0) // it may have exited
	}
	return os.Remove(c.dir)
}

func (c *Cgroup) write(file, text string) error {
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0); err != nil {
		return fmt.Errorf("write to a cgroup: %w", err)
	}
	return nil
}
