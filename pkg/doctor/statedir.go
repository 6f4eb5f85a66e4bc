// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// directory is the state directory, or what is in its place.
type directory struct {
	path   string
	long   error // its path is too long
	stat   error // of looking at it
	isDir  bool
	fs     filesystem // of it, or of the deepest directory on the way to it
	write  error      // of writing in it, or there
	shared sameness   // with the host's directory of that path
}

// sameness is whether a directory here is the host's of the same path.
type sameness int

const (
	notAsked sameness = iota // no host root was named
	same
	another
	hostHasNone
)

func inspectStateDir(store *state.Store, root string) directory {
	d := directory{path: store.Dir(), long: launch.CheckStateDir(store.Dir())}
	info, err := os.Stat(d.path)
	if d.stat = err; err == nil {
		d.isDir = info.IsDir()
	}
	d.fs = inspectFilesystem(deepest(d.path))
	d.write = store.Probe()
	if h := hostfs.Dir(root); !h.IsOwn() {
		d.shared = compare(h, d.path, info)
	}
	return d
}

// deepest is the directory itself, or the deepest one that there is on the way to it.
func deepest(dir string) string {
	for {
		_, err := os.Stat(dir)
		parent := filepath.Dir(dir)
		if err == nil || parent == dir {
			return dir
		}
		dir = parent
	}
}

func compare(h hostfs.Dir, path string, here fs.FileInfo) sameness {
	there, err := h.Stat(path)
	switch {
	case err != nil:
		return hostHasNone
	case here != nil && os.SameFile(here, there):
		return same
	}
	return another
}

func judgeStateDir(d directory, p process) []Finding {
	all := []Finding{judgeDirectory(d, p)}
	if d.long != nil {
		all = append(all, Finding{
			Check: "state-dir", Level: Fail, What: fmt.Sprintf("the path of the state directory, %s, is too long for the reaper's socket in it to have an address", d.path),
			Do: d.long.Error(),
		})
	}
	all = append(all, judgeFilesystem(d)...)
	return append(all, judgeShared(d, p.mountNS)...)
}

// judgeDirectory says whether records can be kept in it.
func judgeDirectory(d directory, p process) Finding {
	f := Finding{Check: "state-dir"}
	absent := errors.Is(d.stat, fs.ErrNotExist)
	unsafe, isUnsafe := errors.AsType[*state.UnsafeDirError](d.write)
	switch {
	case d.stat == nil && !d.isDir:
		f.Level, f.What = Fail, d.path+" is there, but no directory"
		f.Do = fmt.Sprintf("remove it, or set %s to a directory, for plugin and reaper alike", state.EnvDir)
	case isUnsafe:
		f.Level, f.What, f.Do = Fail, unsafe.Problem()+": plugin and reaper refuse it", unsafe.Remedy()
	case d.write != nil && errors.Is(d.write, fs.ErrPermission) && p.uid != 0:
		f.Level, f.What = Warn, fmt.Sprintf("%s cannot be written to by user %d: %v", d.path, p.uid, d.write)
		f.Do = "run it as root, as the plugin is"
	case d.write != nil:
		f.Level, f.What = Fail, d.write.Error()
		f.Do = fmt.Sprintf("see to it that root can write there (a read-only mount, a full or immutable file system), or set %s to another directory, for plugin and reaper alike", state.EnvDir)
	case absent:
		f.What = d.path + " is not there yet, and can be made: the first ADD or the reaper does"
	case d.stat != nil:
		f.Level, f.What = Warn, fmt.Sprintf("%s cannot be looked at: %v", d.path, d.stat)
		f.Do = "run it as root"
	default:
		f.What = fmt.Sprintf("%s can be written to (%s)", d.path, d.fs.name())
	}
	return f
}

func judgeFilesystem(d directory) []Finding {
	var all []Finding
	switch {
	case d.fs.remote():
		all = append(all, Finding{
			Check: "state-dir", Level: Warn, What: fmt.Sprintf("%s is on %s: records outlive the boot that they are of, other machines may see them, and pods wait where it does", d.path, d.fs.name()),
			Do: "keep the state on a local file system: /run, a tmpfs, is right",
		})
	case d.fs.name() == "overlay":
		all = append(all, Finding{
			Check: "state-dir", Level: Warn, What: fmt.Sprintf("%s is on a container's own file system (overlay): the plugin, which runs on the host, writes its records elsewhere", d.path),
			Do: fmt.Sprintf("mount the host's directory there: a hostPath volume in Kubernetes, -v %[1]s:%[1]s in docker and podman", d.path),
		})
	case d.fs.kind != 0 && !d.fs.volatile():
		all = append(all, Finding{
			Check: "state-dir", Level: Info, What: fmt.Sprintf("%s is on %s, which a reboot does not empty: records of an earlier boot stay for ten minutes and are passed over", d.path, d.fs.name()),
			Do: "nothing; /run, a tmpfs, is where it is meant to be",
		})
	}
	if left := d.fs.scarce(); left != "" {
		all = append(all, Finding{
			Check: "state-dir", Level: Warn, What: fmt.Sprintf("only %s are left where %s is: pods may soon not be registered", left, d.path),
			Do: "make room on that file system (df, df -i)",
		})
	}
	return all
}

// judgeShared says whether plugin and reaper see the same directory.
func judgeShared(d directory, in place) []Finding {
	f := Finding{Check: "state-dir", Level: Fail}
	mount := fmt.Sprintf("mount the host's directory at the same path: a hostPath volume of type DirectoryOrCreate in Kubernetes, -v %[1]s:%[1]s in docker and podman", d.path)
	switch d.shared {
	case another:
		f.What = fmt.Sprintf("%s here is not the host's: the plugin, which runs on the host, writes its records there, and a reaper here sees none of them", d.path)
		f.Do = mount
	case hostHasNone:
		f.Level = Warn
		f.What = fmt.Sprintf("the host has no %s yet, so that it is not the one that is seen here", d.path)
		f.Do = mount
	case same:
		return []Finding{{Check: "state-dir", What: d.path + " is the host's: plugin and reaper see the same records"}}
	default:
		if in != elsewhere || d.fs.name() == "overlay" { // the latter has been said
			return nil
		}
		f.Level = Info
		f.What = fmt.Sprintf("whether %s is the host's cannot be told from here: the plugin, which runs on the host, writes its records there", d.path)
		f.Do = "name the host's root with --host-root, where that is mounted here; else see to it that you " + mount
	}
	return []Finding{f}
}
