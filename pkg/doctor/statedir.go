// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// filesystem is the file system of a directory.
type filesystem struct {
	kind          int64 // its magic number (linux/magic.h); 0 if unknown
	bytes         uint64
	inodes        uint64
	limitedInodes bool
}

func inspectFilesystem(dir string) filesystem {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return filesystem{}
	}
	return filesystem{
		kind:  int64(st.Type) & 0xFFFFFFFF, // some numbers are negative in a field of 32 bits
		bytes: st.Bavail * uint64(st.Bsize), inodes: st.Ffree, limitedInodes: st.Files > 0,
	}
}

// name returns the name of a common file system, or its magic number.
func (f filesystem) name() string {
	switch f.kind {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.CIFS_SUPER_MAGIC:
		return "cifs"
	case unix.SMB2_SUPER_MAGIC:
		return "smb2"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	}
	return fmt.Sprintf("file system %#x", f.kind)
}

// isRemote reports whether another machine or process serves the file system.
func (f filesystem) isRemote() bool {
	switch f.kind {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return true
	}
	return false
}

// isVolatile reports whether a reboot empties the file system.
func (f filesystem) isVolatile() bool {
	return f.kind == unix.TMPFS_MAGIC || f.kind == unix.RAMFS_MAGIC
}

// The records, saved candidates and log of a full node need less than this.
const (
	minBytes  = 32 << 20
	minInodes = 1000
)

// shortage returns the free space and inodes that are below the minimum, "" if there is enough.
func (f filesystem) shortage() string {
	var left []string
	if f.kind != 0 && f.bytes < minBytes {
		left = append(left, fmt.Sprintf("%d KiB", f.bytes>>10))
	}
	if f.limitedInodes && f.inodes < minInodes {
		left = append(left, fmt.Sprintf("%d inodes", f.inodes))
	}
	return strings.Join(left, " and ")
}

// directory is the state directory.
type directory struct {
	path    string
	tooLong error // for the reaper's socket
	stat    error
	isDir   bool
	fs      filesystem // of it, or of its nearest existing parent
	write   error      // of writing in it, or in that parent
	shared  sharing
}

// sharing is whether a directory here is the host's directory of the same path.
type sharing int

const (
	sharingUnknown sharing = iota // there is no host root to compare with
	isHosts
	isNotHosts
	hostHasNone
)

func inspectStateDir(store *state.Store, root string) directory {
	d := directory{path: store.Dir(), tooLong: launch.CheckStateDir(store.Dir())}
	info, err := os.Stat(d.path)
	if d.stat = err; err == nil {
		d.isDir = info.IsDir()
	}
	d.fs = inspectFilesystem(existingDir(d.path))
	d.write = store.Probe()
	if h := hostfs.Dir(root); !h.IsOwn() {
		d.shared = compareWithHost(h, d.path, info)
	}
	return d
}

// existingDir returns a directory, or its nearest existing parent.
func existingDir(dir string) string {
	for {
		_, err := os.Stat(dir)
		parent := filepath.Dir(dir)
		if err == nil || parent == dir {
			return dir
		}
		dir = parent
	}
}

func compareWithHost(h hostfs.Dir, path string, here fs.FileInfo) sharing {
	there, err := h.Stat(path)
	switch {
	case err != nil:
		return hostHasNone
	case here != nil && os.SameFile(here, there):
		return isHosts
	}
	return isNotHosts
}

func reportStateDir(d directory, p process) []Finding {
	all := []Finding{reportDirectory(d, p)}
	if d.tooLong != nil {
		all = append(all, Finding{
			ID: "state-dir/path", Check: "state-dir", Level: Fail, What: fmt.Sprintf("the path of the state directory, %s, is too long for the address of the reaper's socket in it", d.path),
			Do: d.tooLong.Error(),
		})
	}
	all = append(all, reportFilesystem(d)...)
	return append(all, reportSharing(d, p.mountNS)...)
}

// reportDirectory reports whether records can be written to the directory.
func reportDirectory(d directory, p process) Finding {
	f := Finding{Check: "state-dir"}
	unsafe, isUnsafe := errors.AsType[*state.UnsafeDirError](d.write)
	switch {
	case d.stat == nil && !d.isDir:
		f.Level, f.What = Fail, d.path+" is no directory"
		f.Do = fmt.Sprintf("remove it, or set %s to a directory, for plugin and reaper alike", state.EnvDir)
	case isUnsafe:
		f.Level, f.What, f.Do = Fail, unsafe.Problem()+": plugin and reaper refuse it", unsafe.Remedy()
	case d.write != nil && errors.Is(d.write, fs.ErrPermission) && p.uid != 0:
		f.Level, f.What = Warn, fmt.Sprintf("%s cannot be written to by user %d: %v", d.path, p.uid, d.write)
		f.Do = "run it as root, like the plugin"
	case d.write != nil:
		f.Level, f.What = Fail, d.write.Error()
		f.Do = fmt.Sprintf("let root write there (it may be a read-only mount, or a full or immutable file system), or set %s to another directory, for plugin and reaper alike", state.EnvDir)
	case errors.Is(d.stat, fs.ErrNotExist):
		f.What = d.path + " does not exist yet: the first ADD or the reaper creates it"
	case d.stat != nil:
		f.Level, f.What = Warn, fmt.Sprintf("%s cannot be inspected: %v", d.path, d.stat)
		f.Do = "run it as root"
	default:
		f.What = fmt.Sprintf("%s can be written to (%s)", d.path, d.fs.name())
	}
	return f
}

func reportFilesystem(d directory) []Finding {
	var all []Finding
	switch {
	case d.fs.isRemote():
		all = append(all, Finding{
			ID: "state-dir/filesystem", Check: "state-dir", Level: Warn, What: fmt.Sprintf("%s is on %s: records outlive their boot, other machines may see them, and pods wait if it hangs", d.path, d.fs.name()),
			Do: "use a local file system, ideally /run (a tmpfs)",
		})
	case d.fs.name() == "overlay":
		all = append(all, Finding{
			ID: "state-dir/filesystem", Check: "state-dir", Level: Warn, What: fmt.Sprintf("%s is on a container's own file system (overlay): the plugin, which runs on the host, writes its records elsewhere", d.path),
			Do: fmt.Sprintf("mount the host's directory there: a hostPath volume in Kubernetes, -v %[1]s:%[1]s in docker and podman", d.path),
		})
	case d.fs.kind != 0 && !d.fs.isVolatile():
		all = append(all, Finding{
			ID: "state-dir/filesystem", Check: "state-dir", Level: Info, What: fmt.Sprintf("%s is on %s, which a reboot does not empty: records of an earlier boot stay for ten minutes and are ignored", d.path, d.fs.name()),
			Do: "nothing; /run (a tmpfs) is the default",
		})
	}
	if left := d.fs.shortage(); left != "" {
		all = append(all, Finding{
			ID: "state-dir/space", Check: "state-dir", Level: Warn, What: fmt.Sprintf("only %s are left on the file system of %s: new pods may not be registered", left, d.path),
			Do: "free space on that file system (df, df -i)",
		})
	}
	return all
}

// reportSharing reports whether plugin and reaper use the same directory.
func reportSharing(d directory, in place) []Finding {
	f := Finding{ID: "state-dir/shared", Check: "state-dir", Level: Fail}
	mount := fmt.Sprintf("mount the host's directory at the same path: a hostPath volume of type DirectoryOrCreate in Kubernetes, -v %[1]s:%[1]s in docker and podman", d.path)
	switch d.shared {
	case isNotHosts:
		f.What = fmt.Sprintf("%s here is not the host's: the plugin, which runs on the host, writes its records there, and a reaper here sees none of them", d.path)
		f.Do = mount
	case hostHasNone:
		f.Level = Warn
		f.What = fmt.Sprintf("the host has no %s yet, so the directory here is not the host's", d.path)
		f.Do = mount
	case isHosts:
		return []Finding{{ID: "state-dir/shared", Check: "state-dir", What: d.path + " is the host's: plugin and reaper use the same records"}}
	default:
		if in != elsewhere || d.fs.name() == "overlay" { // reportFilesystem has reported the latter
			return nil
		}
		f.Level = Info
		f.What = fmt.Sprintf("cannot determine from here whether %s is the host's: the plugin, which runs on the host, writes its records there", d.path)
		f.Do = "name the host's root with --host-root if it is mounted here; otherwise " + mount
	}
	return []Finding{f}
}

// switchFile is this node's mode switch.
type switchFile struct {
	path  string
	now   state.Switches // those in force
	err   error          // of reading it
	write error          // of checking whether it can be set
	fs    filesystem
}

func inspectSwitch(path string) switchFile {
	s := switchFile{path: path}
	all, err := state.LoadSwitches(path)
	s.now, s.err = all.At(time.Now()), err
	dir := existingDir(filepath.Dir(path))
	s.fs = inspectFilesystem(dir)
	s.write = state.ProbeDir(filepath.Dir(path))
	return s
}

// reportSwitch reports whether halfclose mode can set the switch.
func reportSwitch(s switchFile) []Finding {
	var all []Finding
	if s.err != nil {
		f := Finding{ID: "switch/content", Check: "switch", Level: Warn, What: fmt.Sprintf("%v: every reaper only observes", s.err), Do: "run halfclose mode destroy (or observe) to replace it"}
		if errors.Is(s.err, fs.ErrPermission) {
			f.What, f.Do = s.err.Error(), "run it as root"
		}
		all = append(all, f)
	}
	dir := filepath.Dir(s.path)
	switch {
	case s.write != nil && errors.Is(s.write, unix.EACCES):
		all = append(all, Finding{
			Check: "switch", Level: Info, What: fmt.Sprintf("the mode switch %s cannot be set from here: %v", s.path, s.write), Do: "run halfclose mode as root",
		})
	case s.write != nil:
		all = append(all, Finding{
			Check: "switch", Level: Warn, What: fmt.Sprintf("the mode switch %s cannot be set: %v", s.path, s.write),
			Do: fmt.Sprintf("make %s writable for root (in a container: mount the host's directory there, so that the switch outlives the container)", dir),
		})
	case s.fs.name() == "overlay":
		all = append(all, Finding{
			Check: "switch", Level: Warn, What: fmt.Sprintf("the mode switch %s is on a container's own file system (overlay): it is lost with the container, and no other reaper sees it", s.path),
			Do: fmt.Sprintf("mount the host's %s there", dir),
		})
	case s.fs.isVolatile():
		all = append(all, Finding{
			Check: "switch", Level: Info, What: fmt.Sprintf("the mode switch %s is on %s: a reboot resets it", s.path, s.fs.name()),
			Do: fmt.Sprintf("nothing if that is intended; otherwise unset %s, or set it to a directory that a reboot does not empty", state.EnvDir),
		})
	case s.err == nil:
		all = append(all, Finding{Check: "switch", What: fmt.Sprintf("halfclose mode can stop all destroys at once, also for later reapers (%s)", s.path)})
	}
	return all
}
