// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
)

// tree is the root directory of a node in a temporary directory. The directories above it are not checked.
type tree struct {
	t    *testing.T
	root string
}

const (
	pluginPath  = "/opt/cni/bin/halfclose"
	reaperPath  = "/opt/cni/bin/halfclose-reaper"
	commandPath = "/usr/local/bin/halfclose"
)

// newTree creates the files of halfclose install: the plugin, the command, and the link next to the plugin.
func newTree(t *testing.T) tree {
	t.Helper()
	if os.Geteuid() != 0 {
		nstest.NeedPrivilege(t, "make files of root", unix.EPERM)
	}
	n := tree{t, t.TempDir()}
	n.mkdir("/opt/cni/bin", 0o755)
	n.mkdir("/usr/local/bin", 0o755)
	n.write(pluginPath, 0o755)
	n.write(commandPath, 0o755)
	n.link(commandPath, reaperPath)
	return n
}

func (n tree) do(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n tree) mkdir(path string, mode os.FileMode) {
	n.t.Helper()
	n.do(os.MkdirAll(n.root+path, 0o755))
	n.chmod(path, mode)
}

func (n tree) chmod(path string, mode os.FileMode) {
	n.t.Helper()
	n.do(os.Chmod(n.root+path, mode))
}

// write writes a program with unique content. No machine could execute it.
func (n tree) write(path string, mode os.FileMode) {
	n.t.Helper()
	n.do(os.WriteFile(n.root+path, []byte("\x7fELF"+path), mode))
	n.chmod(path, mode)
}

// text writes an executable file with any content.
func (n tree) text(path, text string) {
	n.t.Helper()
	n.do(os.WriteFile(n.root+path, []byte(text), 0o755))
}

func (n tree) link(to, path string) {
	n.t.Helper()
	if err := os.Remove(n.root + path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Fatal(err)
	}
	n.do(os.Symlink(to, n.root+path))
}

// chown changes a file's owner. A user namespace may have only one.
func (n tree) chown(path string, uid int) {
	n.t.Helper()
	if err := os.Lchown(n.root+path, uid, 0); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(n.t, "give a file to another user", err)
	} else if err != nil {
		n.t.Fatal(err)
	}
}

// noexec mounts a file system with noexec on a directory.
func (n tree) noexec(path string) {
	n.t.Helper()
	at := n.root + path
	if err := unix.Mount("halfclose-test", at, "tmpfs", unix.MS_NOEXEC, "mode=755"); errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(n.t, "mount a tmpfs", err)
	} else if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			n.t.Error(err)
		}
	})
}

func TestTheProgramNextToThePluginIsFound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(tree)
		plugin  string
		want    string
	}{
		{"a link to the command", func(tree) {}, pluginPath, commandPath},
		{"a copy of the command", func(n tree) { n.do(os.Remove(n.root + reaperPath)); n.write(reaperPath, 0o700) }, pluginPath, reaperPath},
		{"a relative link", func(n tree) { n.link("../../../usr/./local//bin/halfclose", reaperPath) }, pluginPath, commandPath},
		{"a link that climbs above the root", func(n tree) { n.link("../../../../../../usr/local/bin/halfclose", reaperPath) }, pluginPath, commandPath},
		{"a command of the plugin's size", func(n tree) { n.text(commandPath, "\x7fELF"+strings.ToUpper(pluginPath)) }, pluginPath, commandPath},
		{"a link to a link", func(n tree) {
			n.link("/usr/bin/halfclose", reaperPath)
			n.mkdir("/usr/bin", 0o755)
			n.link("../local/bin/halfclose", "/usr/bin/halfclose")
		}, pluginPath, commandPath},
		{"through a linked directory", func(n tree) {
			n.link("local", "/usr/here")
			n.link("/usr/here/bin/halfclose", reaperPath)
		}, pluginPath, commandPath},
		{"next to the target of a linked plugin", func(n tree) {
			n.mkdir("/usr/lib/cni", 0o755)
			n.link(pluginPath, "/usr/lib/cni/halfclose")
		}, "/usr/lib/cni/halfclose", commandPath},
		{"with a group that can only read", func(n tree) { n.chmod("/usr/local/bin", 0o2755); n.chown(commandPath, 0) }, pluginPath, commandPath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newTree(t)
			tt.prepare(n)
			p, err := launch.SiblingOf(n.root, tt.plugin)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if p.Path() != tt.want {
				t.Errorf("got %s, want %s", p.Path(), tt.want)
			}
		})
	}
}

func TestAProgramThatOthersCouldReplaceIsNotStarted(t *testing.T) {
	const other = 1000
	for _, tt := range []struct {
		name    string
		prepare func(tree)
		why     error
		wantErr string
	}{
		{"none", func(n tree) { n.do(os.Remove(n.root + reaperPath)) }, launch.ErrMissing, reaperPath + ": missing"},
		{
			"a link that leads nowhere", func(n tree) { n.do(os.Remove(n.root + commandPath)) }, launch.ErrMissing,
			reaperPath + ": leads to " + commandPath + ", which is missing",
		},
		{"of another user", func(n tree) { n.chown(commandPath, other) }, launch.ErrNotRoots, commandPath + ": not owned by root but by user 1000"},
		{"writable by its group", func(n tree) { n.chmod(commandPath, 0o775) }, launch.ErrWritable, commandPath + ": writable by other users than root (mode 0775)"},
		{"writable by all", func(n tree) { n.chmod(commandPath, 0o757) }, launch.ErrWritable, commandPath + ": writable by other users than root (mode 0757)"},
		{"a directory of the link is another user's", func(n tree) { n.chown("/opt/cni", other) }, launch.ErrNotRoots, "directory /opt/cni: not owned by root but by user 1000"},
		{"a directory of the link is writable", func(n tree) { n.chmod("/opt/cni/bin", 0o777) }, launch.ErrWritable, "directory /opt/cni/bin: writable"},
		{"a directory of the target is another user's", func(n tree) { n.chown("/usr/local/bin", other) }, launch.ErrNotRoots, "directory /usr/local/bin: not owned"},
		{"a directory of the target is writable", func(n tree) { n.chmod("/usr/local", 0o775) }, launch.ErrWritable, "directory /usr/local: writable"},
		{"a sticky directory", func(n tree) { n.chmod("/usr/local/bin", 0o777|os.ModeSticky) }, launch.ErrWritable, "directory /usr/local/bin: writable by other users than root (mode 1777)"},
		{"the root directory is writable", func(n tree) { n.chmod("/", 0o777) }, launch.ErrWritable, "directory /: writable"},
		{"a link on the path is in a writable directory", func(n tree) {
			n.mkdir("/tmp", 0o777|os.ModeSticky)
			n.link(commandPath, "/tmp/halfclose")
			n.link("/tmp/halfclose", reaperPath)
		}, launch.ErrWritable, "directory /tmp: writable"},
		{"the path leads through a writable directory", func(n tree) {
			n.mkdir("/tmp/sub", 0o755)
			n.chmod("/tmp", 0o777)
			n.link("/tmp/../usr/local/bin/halfclose", reaperPath)
		}, launch.ErrWritable, "directory /tmp: writable"},
		{"not executable", func(n tree) { n.chmod(commandPath, 0o644) }, launch.ErrNotExecutable, commandPath + ": not a regular executable file"},
		{"a directory", func(n tree) { n.link("/usr/local", reaperPath) }, launch.ErrNotExecutable, "/usr/local: not a regular"},
		{"a FIFO", func(n tree) {
			n.do(os.Remove(n.root + commandPath))
			n.do(unix.Mkfifo(n.root+commandPath, 0o755))
		}, launch.ErrNotExecutable, commandPath + ": not a regular"},
		{"a link to itself", func(n tree) { n.link("halfclose-reaper", reaperPath) }, unix.ELOOP, "too many levels"},
		{"a file in place of a directory", func(n tree) { n.link(commandPath+"/halfclose", reaperPath) }, unix.ENOTDIR, "not a directory"},
		{"the plugin", func(n tree) { n.link("halfclose", reaperPath) }, launch.ErrPlugin, reaperPath + ": the plugin itself"},
		{"the plugin under another name", func(n tree) {
			n.do(os.Remove(n.root + commandPath))
			n.do(os.Link(n.root+pluginPath, n.root+commandPath))
		}, launch.ErrPlugin, reaperPath + ": the plugin itself"},
		{"a copy of the plugin", func(n tree) {
			data, err := os.ReadFile(n.root + pluginPath)
			n.do(err)
			n.text(commandPath, string(data))
		}, launch.ErrPlugin, reaperPath + ": the plugin itself"},
		{"a script", func(n tree) { n.text(commandPath, "#!/bin/sh\nexec halfclose-of-old\n") }, launch.ErrNotELF, commandPath + ": not executable: a script"},
		{"an empty file", func(n tree) { n.text(commandPath, "") }, launch.ErrNotELF, commandPath + ": not executable: a script, or no ELF program"},
		{"less than a magic number", func(n tree) { n.text(commandPath, "\x7fEL") }, launch.ErrNotELF, commandPath + ": not executable"},
		{"on a noexec mount", func(n tree) {
			n.mkdir("/mnt", 0o755)
			n.noexec("/mnt")
			n.write("/mnt/halfclose", 0o755)
			n.link("/mnt/halfclose", reaperPath)
		}, launch.ErrNoExec, "/mnt/halfclose: not executable: on a file system that is mounted noexec"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newTree(t)
			tt.prepare(n)
			p, err := launch.SiblingOf(n.root, pluginPath)
			if err == nil {
				p.Close()
				t.Fatal("it would be started")
			}
			if !errors.Is(err, tt.why) || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %q, want %v and %q in it", err, tt.why, tt.wantErr)
			}
			if strings.Contains(err.Error(), n.root) {
				t.Errorf("got %q, want paths as they are on the node", err)
			}
		})
	}
}

func TestADirectoryAloneIsChecked(t *testing.T) {
	n := newTree(t)
	if err := launch.CheckDirectory(n.root, "/opt/cni/bin"); err != nil {
		t.Error(err)
	}
	n.chmod("/opt", 0o770)
	if err := launch.CheckDirectory(n.root, "/opt/cni/bin"); !errors.Is(err, launch.ErrWritable) {
		t.Errorf("got %v", err)
	}
}

// A file that replaces the program after the check is not started.
func TestTheCheckedFileIsStarted(t *testing.T) {
	rep := newReporter(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	n := newTree(t)
	n.do(os.WriteFile(n.root+commandPath, self, 0o755))
	p, err := launch.SiblingOf(n.root, pluginPath)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	n.text("/evil", "#!/bin/sh\nexit 1\n")
	n.do(os.Rename(n.root+"/evil", n.root+commandPath))
	if err := p.Start(launch.Config{Env: []string{socketVar + "=" + rep.path}}); err != nil {
		t.Fatal(err)
	}
	r := rep.accept(t)
	if want := filepath.Join(n.root, commandPath) + " (deleted)"; r.Exe != want {
		t.Errorf("it runs %s, want %s", r.Exe, want)
	}
}
