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
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheStateDirectoryIsCheckedForWriteAccessAndItsFileSystem(t *testing.T) {
	const roomy = 1 << 40
	tmpfs := filesystem{kind: unix.TMPFS_MAGIC, bytes: roomy, inodes: roomy, limitedInodes: true}
	on := func(kind int64) filesystem { return filesystem{kind: kind, bytes: roomy} }
	usable := want{"state-dir", OK, "/run/halfclose can be written to (tmpfs)", ""}
	denied := &fs.PathError{Op: "open", Path: "/run/halfclose", Err: unix.EACCES}
	inside, user := root(), process{uid: 65534, mountNS: onHost}
	inside.mountNS = elsewhere
	for _, tt := range []struct {
		name   string
		change func(*directory)
		by     process
		wants  []want
	}{
		{"a good one", func(*directory) {}, root(), []want{usable}},
		{"none yet", func(d *directory) { d.stat, d.isDir = fs.ErrNotExist, false }, root(), []want{{"state-dir", OK, "does not exist yet", ""}}},
		{"a file", func(d *directory) { d.isDir, d.write = false, unix.ENOTDIR }, root(), []want{{"state-dir", Fail, "is no directory", "remove it, or set HALFCLOSE_STATE_DIR"}}},
		{"a read-only one", func(d *directory) { d.write = unix.EROFS }, root(), []want{{"state-dir", Fail, "read-only file system", "another directory"}}},
		{"one that is full", func(d *directory) { d.write, d.fs.bytes = unix.ENOSPC, 8<<10 }, root(), []want{
			{"state-dir", Fail, "no space left", ""}, {"state-dir", Warn, "only 8 KiB are left", "df"},
		}},
		{"one with few inodes", func(d *directory) { d.fs.inodes = 12 }, root(), []want{usable, {"state-dir", Warn, "only 12 inodes are left", "df -i"}}},
		{"another's, to a user", func(d *directory) { d.write = denied }, user, []want{{"state-dir", Warn, "by user 65534", "run it as root"}}},
		{"one that cannot be inspected", func(d *directory) { d.stat = denied }, user, []want{{"state-dir", Warn, "cannot be inspected", "run it as root"}}},
		{"of another user", func(d *directory) {
			d.write = fmt.Errorf("write: %w", &state.UnsafeDirError{Path: d.path, UID: 1000, Mode: 0o700, Foreign: true})
		}, root(), []want{{"state-dir", Fail, "belongs to user 1000", "chown root: /run/halfclose"}}},
		{"writable by others", func(d *directory) { d.write = &state.UnsafeDirError{Path: d.path, Mode: 0o770} }, root(), []want{{"state-dir", Fail, "has mode 0770", "chmod go-w /run/halfclose"}}},
		{"a path that is too long", func(d *directory) { d.tooLong = errors.New("use a shorter path") }, root(), []want{usable, {"state-dir", Fail, "is too long", "shorter path"}}},
		{"on another machine", func(d *directory) { d.fs = on(unix.NFS_SUPER_MAGIC) }, root(), []want{
			{"state-dir", OK, "(nfs)", ""}, {"state-dir", Warn, "is on nfs", "/run"},
		}},
		{"on an image's layers", func(d *directory) { d.fs = on(unix.OVERLAYFS_SUPER_MAGIC) }, inside, []want{
			{"state-dir", OK, "(overlay)", ""}, {"state-dir", Warn, "on a container's own file system", "-v /run/halfclose:/run/halfclose"},
		}},
		{"on a disk", func(d *directory) { d.fs = on(unix.EXT4_SUPER_MAGIC) }, root(), []want{
			{"state-dir", OK, "(ext4)", ""}, {"state-dir", Info, "which a reboot does not empty", "nothing"},
		}},
		{"on another file system", func(d *directory) { d.fs = on(0x1234) }, root(), []want{
			{"state-dir", OK, "(file system 0x1234)", ""}, {"state-dir", Info, "file system 0x1234", ""},
		}},
		{"in a container", func(*directory) {}, inside, []want{usable, {"state-dir", Info, "cannot determine from here", "--host-root"}}},
		{"the host's, in a container", func(d *directory) { d.shared = isHosts }, inside, []want{usable, {"state-dir", OK, "is the host's", ""}}},
		{"not the host's", func(d *directory) { d.shared = isNotHosts }, inside, []want{usable, {"state-dir", Fail, "is not the host's", "DirectoryOrCreate"}}},
		{"missing on the host", func(d *directory) { d.shared = hostHasNone }, inside, []want{usable, {"state-dir", Warn, "the host has no /run/halfclose yet", "hostPath"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := directory{path: "/run/halfclose", isDir: true, fs: tmpfs}
			tt.change(&d)
			expect(t, reportStateDir(d, tt.by), tt.wants...)
		})
	}
}

func TestARealStateDirectoryIsInspected(t *testing.T) {
	dir := t.TempDir()
	existing := filepath.Join(dir, "existing")
	for path, mode := range map[string]fs.FileMode{existing: 0o700, filepath.Join(dir, "open"): 0o777} {
		if err := errors.Join(os.Mkdir(path, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(path, hostRoot string) directory { return inspectStateDir(state.New(path), hostRoot) }
	if d := at(existing, ""); d.stat != nil || !d.isDir || d.write != nil || d.tooLong != nil || d.fs.kind == 0 || d.fs.bytes == 0 {
		t.Errorf("an existing one: %+v", d)
	}
	if d := at(filepath.Join(dir, "a/b/c"), ""); !errors.Is(d.stat, fs.ErrNotExist) || d.write != nil || d.fs.kind == 0 {
		t.Errorf("a missing one: %+v", d)
	}
	if d := at(filepath.Join(dir, "open"), ""); !isUnsafe(d.write) {
		t.Errorf("one that everyone can write to: %+v", d)
	}
	if d := at(filepath.Join(dir, "file"), ""); d.isDir || d.write == nil {
		t.Errorf("a file: %+v", d)
	}
	if d := at(filepath.Join(dir, strings.Repeat("x", 120)), ""); d.tooLong == nil {
		t.Errorf("a long path: %+v", d)
	}
	// Below a host root the directory is another one, the same or missing.
	hostRoot := filepath.Join(dir, "host")
	if err := os.MkdirAll(filepath.Join(hostRoot, existing), 0o700); err != nil {
		t.Fatal(err)
	}
	if d := at(existing, hostRoot); d.shared != isNotHosts {
		t.Errorf("another directory: %+v", d)
	}
	if err := os.Remove(filepath.Join(hostRoot, existing)); err != nil {
		t.Fatal(err)
	}
	if d := at(existing, hostRoot); d.shared != hostHasNone {
		t.Errorf("no directory: %+v", d)
	}
	if d := at(existing, "/"); d.shared != sharingUnknown {
		t.Errorf("no host root: %+v", d)
	}
	if got := compareWithHost(hostfs.Dir("/proc/self/root"), existing, mustStat(t, existing)); got != isHosts {
		t.Errorf("the same directory: %v", got)
	}
	if names := mustNames(t, existing); len(names) != 0 {
		t.Errorf("the inspection leaves %v", names)
	}
}

func mustStat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func isUnsafe(err error) bool {
	_, ok := errors.AsType[*state.UnsafeDirError](err)
	return ok
}
