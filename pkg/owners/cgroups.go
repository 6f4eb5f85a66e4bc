// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// membership has the cgroups of a process that can freeze it: paths relative to the reader's cgroup namespace, "" if the
// process is in no such hierarchy.
type membership struct {
	v2 string
	v1 string // of the controller freezer
}

// parseCgroup parses /proc/PID/cgroup (cgroups(7)): lines of "id:controllers:path".
func parseCgroup(text string) (m membership) {
	for line := range strings.Lines(text) {
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, found := strings.Cut(rest, ":")
		switch {
		case !found || !strings.HasPrefix(path, "/"):
		case id == "0" && controllers == "":
			m.v2 = path
		case slices.Contains(strings.Split(controllers, ","), "freezer"):
			m.v1 = path
		}
	}
	return m
}

// freezer is the state of the cgroups that can freeze a process.
type freezer struct {
	fixed   bool // it cannot freeze: the process is in the root of the hierarchy, or in none
	frozen  bool
	time    time.Duration
	hasTime bool
	inode   uint64
}

// cgroups reads the state of cgroups, once for each.
type cgroups struct {
	proc    string
	init    int
	mounts  *cgroupMounts
	current bool // mounts are those of now
	latest  *atomic.Pointer[cgroupMounts]
	known   map[string]freezerResult // by version and path
}

// cgroupMounts are the hierarchies that were mounted at some time, as seen from a cgroup namespace.
type cgroupMounts struct {
	namespace uint64 // the inode of the cgroup namespace
	list      []cgroupMount
	err       error
}

type freezerResult struct {
	freezer
	err error
}

// cgroupMount is a mounted hierarchy.
type cgroupMount struct {
	v2   bool   // false: version 1 with the controller freezer
	root string // the mounted cgroup, relative to the reader's cgroup namespace
	dir  string // the mount point
}

// newCgroups finds the hierarchies that are mounted in the mount namespace of the caller or of the process init. A node has
// thousands of mounts, so it starts with the hierarchies of latest, which it keeps up to date.
func newCgroups(proc string, init int, latest *atomic.Pointer[cgroupMounts]) *cgroups {
	c := &cgroups{proc: proc, init: init, mounts: latest.Load(), latest: latest, known: make(map[string]freezerResult)}
	if c.mounts == nil || c.mounts.namespace != hostfs.NamespaceInode(filepath.Join(proc, "thread-self/ns/cgroup")) {
		c.readMounts()
	}
	return c
}

func (c *cgroups) readMounts() {
	own, err := mountsOf(filepath.Join(c.proc, "thread-self"), "")
	initDir := filepath.Join(c.proc, strconv.Itoa(c.init))
	others, otherErr := mountsOf(initDir, filepath.Join(initDir, "root"))
	c.mounts = &cgroupMounts{
		namespace: hostfs.NamespaceInode(filepath.Join(c.proc, "thread-self/ns/cgroup")),
		list:      append(own, others...), err: errors.Join(err, otherErr),
	}
	c.current = true
	c.latest.Store(c.mounts)
}

// mountsOf lists the hierarchies in the mount namespace of a process, as seen through root.
func mountsOf(process, root string) ([]cgroupMount, error) {
	f, err := os.Open(filepath.Join(process, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var list []cgroupMount
	_, err = mountinfo.GetMountsFromReader(f, func(i *mountinfo.Info) (skip, stop bool) {
		isFreezer := i.FSType == "cgroup" && slices.Contains(strings.Split(i.VFSOptions, ","), "freezer")
		if i.FSType == "cgroup2" || isFreezer {
			list = append(list, cgroupMount{v2: !isFreezer, root: i.Root, dir: filepath.Join(root, i.Mountpoint)})
		}
		return true, false
	})
	if err != nil {
		return list, fmt.Errorf("list mounts of %s: %w", process, err)
	}
	return list, nil
}

// file returns the directory of a cgroup below the mount, and false if the mount does not have that cgroup.
func (m cgroupMount) file(path string) (string, bool) {
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(m.root, "/"))
	if !ok || below != "" && below[0] != '/' || slices.Contains(strings.Split(below, "/"), "..") {
		return "", false
	}
	return m.dir + below, true
}

// freezer returns the state of a process's cgroups. If frozen is set, the error is nil.
func (c *cgroups) freezer(m membership) (freezer, error) {
	v2, err2 := c.read(true, m.v2)
	v1, err1 := c.read(false, m.v1)
	v2.frozen = v2.frozen || v1.frozen
	v2.hasTime = v2.hasTime && v1.fixed // version 1 counts no time
	if v2.frozen {
		return v2, nil
	}
	return v2, errors.Join(err2, err1)
}

// deletedSuffix is appended by the kernel to the path of a removed cgroup.
const deletedSuffix = " (deleted)"

// read returns the state of one cgroup at the first read.
func (c *cgroups) read(v2 bool, path string) (freezer, error) {
	if path == "" || strings.HasSuffix(path, deletedSuffix) {
		return freezer{fixed: true, hasTime: true}, nil // only an exiting process is in a removed cgroup
	}
	key := strconv.FormatBool(v2) + path
	if r, known := c.known[key]; known {
		return r.freezer, r.err
	}
	var r freezerResult
	r.freezer, r.err = c.find(v2, path)
	c.known[key] = r
	return r.freezer, r.err
}

// find looks for a cgroup in the known mounts, and then in those of now.
func (c *cgroups) find(v2 bool, path string) (freezer, error) {
	f, err := c.findMounted(v2, path)
	if err != nil && !c.current {
		c.readMounts()
		f, err = c.findMounted(v2, path)
	}
	return f, err
}

func (c *cgroups) findMounted(v2 bool, path string) (freezer, error) {
	errs := []error{c.mounts.err}
	for _, m := range c.mounts.list {
		dir, ok := m.file(path)
		if m.v2 != v2 || !ok {
			continue
		}
		f, err := readFreezer(v2, dir)
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	if path == "/" && c.mounts.namespace == hostfs.InitialCgroupNS { // the root of the hierarchy
		return freezer{fixed: true, hasTime: true}, nil
	}
	errs = append(errs, fmt.Errorf("cgroup %s is not visible: needs hostPID (--pid=host), CAP_SYS_ADMIN and CAP_SYS_PTRACE", path))
	return freezer{}, errors.Join(errs...)
}

// readFreezer reads the state of the cgroup in a directory.
func readFreezer(v2 bool, path string) (f freezer, err error) {
	dir, err := open(unix.AT_FDCWD, path)
	if err != nil {
		return f, fmt.Errorf("open cgroup %s: %w", path, err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return f, fmt.Errorf("stat cgroup %s: %w", path, err)
	}
	f.inode = st.Ino
	name := "freezer.state"
	if v2 {
		name = "cgroup.events"
	}
	text, err := read(dir, name, maxCgroup)
	if errors.Is(err, unix.ENOENT) {
		f.fixed, f.hasTime = true, true // only the root of a hierarchy lacks the file
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read %s/%s: %w", path, name, err)
	}
	if !v2 {
		f.frozen = strings.TrimSpace(string(text)) != "THAWED" // FREEZING: some threads are frozen
		return f, nil
	}
	frozen, _ := valueOf(string(text), "frozen") // absent before Linux 5.2, whose version 2 cannot freeze
	f.frozen = frozen != 0
	if text, err := read(dir, "cgroup.stat.local", maxCgroup); err == nil { // Linux 6.18
		var microseconds uint64
		microseconds, f.hasTime = valueOf(string(text), "frozen_usec")
		f.time = time.Duration(min(microseconds, math.MaxInt64/uint64(time.Microsecond))) * time.Microsecond
	}
	return f, nil
}

// valueOf returns the number in the line "key number" of a cgroup file.
func valueOf(text, key string) (value uint64, found bool) {
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == key {
			value, err := strconv.ParseUint(number, 10, 63)
			return value, err == nil
		}
	}
	return 0, false
}

// inInitialCgroupNS runs fn in the cgroup namespace of the process init if the caller is not in the initial one and may enter
// it. Otherwise it runs fn in the caller's.
func inInitialCgroupNS(proc string, init int, fn func()) {
	if hostfs.NamespaceInode(filepath.Join(proc, "thread-self/ns/cgroup")) == hostfs.InitialCgroupNS {
		fn()
		return
	}
	ns, err := os.Open(filepath.Join(proc, strconv.Itoa(init), "ns/cgroup"))
	if err != nil {
		fn()
		return
	}
	defer ns.Close()
	thread.Discard(func() {
		_ = unix.Setns(int(ns.Fd()), unix.CLONE_NEWCGROUP) // without it, paths outside of the namespace stay unknown
		fn()
	})
}
