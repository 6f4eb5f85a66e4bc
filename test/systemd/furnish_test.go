// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// startMachine is the first process of a machine before it executes systemd: it sets up the root directory. Its namespaces
// and its cgroup are new.
func startMachine() error {
	runtime.LockOSThread() // the process has this thread's cgroup namespace after exec
	root, err := os.Getenv("ROOT"), unix.Unshare(unix.CLONE_NEWCGROUP)
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, step := range []func(string) error{mountSystem, mountKernel, mountDevices, installBinaries, changeRoot} {
		if err := step(root); err != nil {
			return err
		}
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	systemd := os.Getenv("SYSTEMD")
	args := []string{systemd, "--system", "--unit=multi-user.target", "--show-status=no", "--log-target=journal"}
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"container=halfclose-test",
		"SYSTEMD_GENERATOR_PATH=/nowhere", // without the host's generators
	}
	return fmt.Errorf("execute %s: %w", systemd, unix.Exec(systemd, args, env))
}

// mountSystem mounts the host's programs read-only, and the machine's own directories.
func mountSystem(root string) error {
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil { // a root must be a mount point
		return fmt.Errorf("mount the root: %w", err)
	}
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64"} {
		if err := share(root, dir); err != nil {
			return err
		}
	}
	if os.Getenv("PACKAGES") != "" {
		if err := mountWritable(root, "usr"); err != nil {
			return err
		}
	}
	for _, dir := range []string{"run", "tmp", "root", "home", "old", "opt/cni/bin", "var/lib", "var/log", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(root, "var/run")); err != nil {
		return err
	}
	for _, dir := range []string{"run", "tmp", "usr/local/bin", "usr/local/lib"} {
		if err := mountAt(root, dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return err
		}
	}
	return nil
}

// share mounts a directory of the host read-only, or copies the symbolic link at its path.
func share(root, dir string) error {
	at := filepath.Join(root, dir)
	if target, err := os.Readlink(dir); err == nil {
		return os.Symlink(target, at)
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return bind(dir, at, true)
}

// mountWritable mounts an overlay in memory over a directory of the host, which the machine can write to.
func mountWritable(root, dir string) error {
	layers := filepath.Join(root, "layers")
	if err := mountAt(root, "layers", "tmpfs", unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	upper, work, at := filepath.Join(layers, "upper"), filepath.Join(layers, "work"), filepath.Join(root, dir)
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	if err := unix.Mount("overlay", at, "overlay", 0, "lowerdir="+at+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount an overlay at %s: %w", at, err)
	}
	return nil
}

// bind mounts a file or directory at another path, which it creates.
func bind(from, at string, readOnly bool) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else {
		err = os.WriteFile(at, nil, 0o755)
	}
	if err == nil {
		err = unix.Mount(from, at, "", unix.MS_BIND, "")
	}
	if err == nil && readOnly {
		err = unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", from, at, err)
	}
	return nil
}

// mountAt mounts a new file system at a directory, which it creates.
func mountAt(root, dir, fstype string, flags uintptr, data string) error {
	at := filepath.Join(root, dir)
	err := os.MkdirAll(at, 0o755)
	if err == nil {
		err = unix.Mount(fstype, at, fstype, flags, data)
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", fstype, at, err)
	}
	return nil
}

// mountKernel mounts /proc, /sys and the cgroups. Settings of the whole host are read-only.
func mountKernel(root string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	sysctl := filepath.Join(root, "proc/sys")
	if err := mountAt(root, "proc", "proc", flags, ""); err != nil {
		return err
	}
	if err := bind(sysctl, sysctl, true); err != nil {
		return err
	}
	if err := mountAt(root, "sys", "sysfs", flags|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return mountAt(root, "sys/fs/cgroup", "cgroup2", flags, "")
}

// mountDevices mounts a /dev with the devices that every container has.
func mountDevices(root string) error {
	if err := mountAt(root, "dev", "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return err
	}
	for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+device, filepath.Join(root, "dev", device), false); err != nil {
			return err
		}
	}
	if err := mountAt(root, "dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=666,mode=620"); err != nil {
		return err
	}
	if err := os.Symlink("pts/ptmx", filepath.Join(root, "dev/ptmx")); err != nil {
		return err
	}
	return mountAt(root, "dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "")
}

// installBinaries installs command and plugin as README.md does, and this program beside them.
func installBinaries(root string) error {
	if packages := os.Getenv("PACKAGES"); packages != "" {
		return errors.Join(
			bind(os.Getenv("SELF"), filepath.Join(root, container), true),
			bind(packages, filepath.Join(root, packagesDir), true),
			copyProgram(os.Getenv("BIN")+"/cni/bridge", root+pluginDir+"/bridge"),
			copyProgram(os.Getenv("BIN")+"/cni/host-local", root+pluginDir+"/host-local"),
		)
	}
	// The network's first plugin, which is never called.
	if err := os.Symlink("/bin/true", filepath.Join(root, pluginDir, "ptp")); err != nil {
		return err
	}
	if err := bind(os.Getenv("SELF"), filepath.Join(root, container), true); err != nil {
		return err
	}
	bin, to, plugin := os.Getenv("BIN"), command, pluginSource
	if os.Getenv("BARE") == "true" {
		to, plugin = unpacked+"/bin/halfclose", unpacked+"/bin/cni/halfclose"
	}
	var err error
	if dir := os.Getenv("PREVIOUS"); dir != "" {
		err = errors.Join(
			copyProgram(dir+"/bin/halfclose", root+previous+"/bin/halfclose"),
			copyProgram(dir+"/bin/cni/halfclose", root+previous+"/bin/cni/halfclose"),
		)
	}
	return errors.Join(copyProgram(bin+"/halfclose", root+to), copyProgram(bin+"/cni/halfclose", root+plugin), err)
}

// copyProgram copies a program to another path, whose directory it creates.
func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	return err
}

// changeRoot makes the directory the root, with shared mounts, as on a host: services see later mounts.
func changeRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "old"); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return os.Chdir("/")
}

// dropCapabilities drops the capabilities with which the machine could change parts of the host that have no namespace.
func dropCapabilities() error {
	for _, c := range []uintptr{
		unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_TIME, unix.CAP_SYSLOG, unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE,
		unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND, unix.CAP_AUDIT_CONTROL, unix.CAP_LINUX_IMMUTABLE,
	} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
