// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// first is the node's first process: it sets the node up, starts the program, and reaps the program and all orphans.
func first(p Program) (int, error) {
	unix.CloseOnExec(reportFD)
	report := os.NewFile(reportFD, "report")
	defer report.Close()
	if err := p.furnish(); err != nil {
		writeReport(report, err)
		return 1, nil
	}
	if orphaned() {
		return 1, nil
	}
	cmd := reexec(roleProgram)
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	if err := cmd.Start(); err != nil {
		writeReport(report, err)
		return 1, nil
	}
	report.Close()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the program: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// orphaned reports whether the reader of the report has exited, which may be before this process has set its parent-death
// signal.
func orphaned() bool {
	fds := []unix.PollFd{{Fd: reportFD}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// tmp is the directory of the program's temporary files on the node.
const tmp = "/run/tmp"

// hidden lists the directories of the host over which a node has empty ones.
func hidden() []string { return []string{"/run", "/var/lib"} }

// furnish mounts the node's own file systems, sets its loopback up, and calls the program's Furnish.
func (p Program) furnish() error {
	name := os.Getenv(cgroupVar)
	if err := os.Unsetenv(cgroupVar); err != nil {
		return err
	}
	bin, err := p.openBin()
	if err != nil {
		return err
	}
	if err := mountOwn(p.Keep); err != nil {
		return err
	}
	if err := ownRoot(); err != nil {
		return err
	}
	if bin != nil {
		if err := errors.Join(copyBin(bin), bin.Close()); err != nil {
			return fmt.Errorf("copy programs to %s: %w", BinDir, err)
		}
	}
	if name != "" {
		if err := enterCgroups(name); err != nil {
			return err
		}
	}
	if p.Furnish != nil {
		return p.Furnish()
	}
	return nil
}

// openBin opens the directory of the programs under test. It returns nil if there is none.
func (p Program) openBin() (*os.File, error) {
	if p.Bin == "" {
		return nil, nil
	}
	return os.Open(p.Bin)
}

// mountOwn mounts the node's own file systems, and sets its loopback up.
func mountOwn(keep []string) error {
	if err := hide(keep); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.Mkdir(tmp, 0o1777); err != nil {
		return err
	}
	return SetLoopbackUp()
}

// Isolate moves the calling thread into a new mount namespace and a new network namespace, with a private, empty /run
// and /var/lib and a loopback that is up. The keep directories stay reachable. The goroutine must be locked to its thread.
func Isolate(keep []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("create a mount and a network namespace: %w", err)
	}
	if err := hide(keep); err != nil {
		return err
	}
	return SetLoopbackUp()
}

// hide makes all mounts of this mount namespace private, and mounts an empty directory over each hidden one. The keep
// directories are mounted again at their paths.
func hide(keep []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	kept, err := openKept(keep)
	if err != nil {
		return err
	}
	for _, dir := range hidden() {
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, k := range kept {
		if err := k.mount(); err != nil {
			return err
		}
	}
	return nil
}

// SetLoopbackUp sets the loopback interface of this thread's network namespace up.
func SetLoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// keptDir is a directory of the host that stays reachable where its parent is hidden.
type keptDir struct {
	path string
	fd   int // a detached copy of its mounts
}

// openKept opens the directories that will be hidden.
func openKept(dirs []string) ([]keptDir, error) {
	var all []keptDir
	for _, dir := range dirs {
		path, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return nil, err
		}
		if !isHidden(path) {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("copy the mounts of %s: %w", path, err)
		}
		all = append(all, keptDir{path, fd})
	}
	return all, nil
}

func isHidden(path string) bool {
	for _, dir := range hidden() {
		if strings.HasPrefix(path+"/", dir+"/") {
			return true
		}
	}
	return false
}

// mount mounts the directory at its path, and closes fd.
func (k keptDir) mount() error {
	defer unix.Close(k.fd)
	if err := os.MkdirAll(k.path, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(k.fd, "", unix.AT_FDCWD, k.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", k.path, err)
	}
	return nil
}
