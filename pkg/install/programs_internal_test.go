// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/launch"
)

// link returns where the program leads that the plugin starts as the reaper, "" if it is absent or no link.
func (n node) link(t testing.TB) string {
	t.Helper()
	to, err := os.Readlink(filepath.Join(n.config.BinDir, launch.ReaperName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "invalid argument") {
		t.Fatal(err)
	}
	return to
}

func (n node) reaper() string { return filepath.Join(n.config.BinDir, launch.ReaperName) }

// put makes a program among the plugins, and returns its path.
func (n node) put(t testing.TB, name, data string) string {
	t.Helper()
	path := filepath.Join(n.config.BinDir, name)
	write(t, path, data)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheReapersProgramIsALinkToTheCommandOrACopyOfIt(t *testing.T) {
	list := map[string]string{"10-pods.conflist": bridgeList}
	t.Run("a link that is there is not made again", func(t *testing.T) {
		n := newNode(t, list)
		if r := n.install(t); !r.Reaper.Changed || n.link(t) != n.config.Command {
			t.Errorf("got %+v", r.Reaper)
		}
		if r := n.install(t); r.Reaper.Changed {
			t.Errorf("the second time: %+v", r.Reaper)
		}
		if data, err := os.ReadFile(n.reaper()); err != nil || string(data) != theCommand {
			t.Errorf("it leads to %q, %v", data, err)
		}
	})
	t.Run("another link is replaced", func(t *testing.T) {
		n := newNode(t, list)
		if err := os.Symlink(n.config.Command+"-of-old", n.reaper()); err != nil {
			t.Fatal(err)
		}
		if r := n.install(t); !r.Reaper.Changed || n.link(t) != n.config.Command {
			t.Errorf("got %+v", r.Reaper)
		}
	})
	t.Run("a copy is replaced by a link and the other way round", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Copy = true
		if r := n.install(t); !r.Reaper.Changed || r.Reaper.Link != "" || n.link(t) != "" {
			t.Errorf("got %+v", r.Reaper)
		}
		if data, err := os.ReadFile(n.reaper()); err != nil || string(data) != theCommand || stat(t, n.reaper()).Mode&0o777 != 0o755 {
			t.Errorf("it holds %q, %v", data, err)
		}
		if r := n.install(t); r.Reaper.Changed {
			t.Errorf("the second time: %+v", r.Reaper)
		}
		n.config.Copy = false
		if r := n.install(t); !r.Reaper.Changed || n.link(t) != n.config.Command {
			t.Errorf("got %+v", r.Reaper)
		}
		n.config.Copy = true
		if r := n.install(t); !r.Reaper.Changed || n.link(t) != "" {
			t.Errorf("got %+v", r.Reaper)
		}
	})
	t.Run("with an external reaper there is none, and one from before is left", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Entry = entry(t, `{"reaper": "external"}`)
		if r := n.install(t); r.Reaper != nil || n.link(t) != "" || !n.runnable(t) || r.Warnings != nil {
			t.Errorf("got %+v", r)
		}
		if err := os.Symlink("/before", n.reaper()); err != nil {
			t.Fatal(err)
		}
		if r := n.install(t); r.changed() || n.link(t) != "/before" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("a dry run makes none", func(t *testing.T) {
		n := newNode(t, list)
		n.config.DryRun = true
		if r := n.install(t); !r.Reaper.Changed || !r.Plugin.Changed || n.link(t) != "" || n.runnable(t) {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("what a killed installer left goes", func(t *testing.T) {
		n := newNode(t, list)
		left := filepath.Join(n.config.BinDir, temporary(launch.ReaperName, []byte(n.config.Command)))
		if err := os.Symlink(n.config.Command, left); err != nil {
			t.Fatal(err)
		}
		n.install(t)
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) || n.link(t) != n.config.Command {
			t.Errorf("it is left: %v", err)
		}
	})
	t.Run("a command that runs as the reaper's program stays", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Command = n.put(t, launch.ReaperName, theCommand)
		for _, n.config.Copy = range []bool{false, true} {
			if r := n.install(t); r.Reaper.Changed || n.link(t) != "" {
				t.Errorf("copy %t: %+v", n.config.Copy, r.Reaper)
			}
		}
	})
}

// The old single binary is where the plugin belongs, and so is a new command that replaced it.
func TestACommandAtThePluginsPathIsNotOverwrittenByIt(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.config.Command = n.put(t, spec.PluginType, theCommand)
	before := n.files(t)
	if r, err := Install(t.Context(), n.config); err == nil || !strings.Contains(err.Error(), "where the plugin belongs: move it") {
		t.Errorf("got %+v, %v", r, err)
	}
	n.want(t, before)
	if data, err := os.ReadFile(n.config.Command); err != nil || string(data) != theCommand {
		t.Errorf("the command holds %q, %v", data, err)
	}
	n.config.Copy = true
	n.install(t)
	for path, want := range map[string]string{n.reaper(): theCommand, n.config.Command: "the program"} {
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("%s holds %q, %v; want %q", path, data, err, want)
		}
	}
}

// At no time may an entry name a plugin that is not there, nor a plugin start a program that is not there.
func TestTheReapersProgramComesFirstAndTheEntryLast(t *testing.T) {
	list := map[string]string{"10-pods.conflist": bridgeList}
	t.Run("without the plugin there is no entry", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Plugin = filepath.Join(n.dir(), "none")
		r, err := Install(t.Context(), n.config)
		if !errors.Is(err, fs.ErrNotExist) || n.link(t) != n.config.Command || !r.Reaper.Changed {
			t.Errorf("got %+v, %v", r, err)
		}
		n.want(t, list)
	})
	t.Run("without the reaper's program there is no plugin", func(t *testing.T) {
		n := newNode(t, list)
		if err := os.MkdirAll(filepath.Join(n.reaper(), "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		if r, err := Install(t.Context(), n.config); err == nil || r.Plugin.Changed || n.runnable(t) {
			t.Errorf("got %+v, %v", r, err)
		}
		n.want(t, list)
	})
	t.Run("the reaper's program goes after the plugin", func(t *testing.T) {
		n := newNode(t, list)
		n.install(t)
		path := filepath.Join(n.config.BinDir, spec.PluginType)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil { // which unlink(2) does not remove
			t.Fatal(err)
		}
		if r, err := Uninstall(t.Context(), n.config, true); err == nil || n.link(t) == "" || len(r.Files) != 1 {
			t.Errorf("got %+v, %v", r, err)
		}
		n.want(t, list)
	})
}

// ADD starts no program that another user could replace, so an installation that left one would be none.
func TestAnInstalledProgramGetsItsOwnerAndItsModeBack(t *testing.T) {
	n, root := below(t)
	n.install(t)
	bin := filepath.Join(root, "usr/lib/cni")
	if r := n.install(t); r.changed() {
		t.Errorf("the second time: %+v", r)
	}
	for name, spoil := range map[string]func(t *testing.T, path string) error{
		"writable by its group": func(_ *testing.T, path string) error { return os.Chmod(path, 0o775) },
		"set-user-ID":           func(_ *testing.T, path string) error { return os.Chmod(path, 0o755|os.ModeSetuid) },
		"of another user": func(t *testing.T, path string) error {
			err := os.Chown(path, 1000, -1)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
				nstest.NeedPrivilege(t, "give a file to another user", err)
			}
			return err
		},
		"a link to the same": func(t *testing.T, path string) error {
			return errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, program := range []string{spec.PluginType, launch.ReaperName} {
				path := filepath.Join(bin, program)
				if err := spoil(t, path); err != nil {
					t.Fatal(err)
				}
				dry := n
				dry.config.DryRun = true
				for _, r := range []Result{dry.install(t), n.install(t)} {
					if r.Plugin.Changed != (program == spec.PluginType) || r.Reaper.Changed == r.Plugin.Changed {
						t.Errorf("%s: got %+v, %+v", program, r.Plugin, r.Reaper)
					}
				}
				var is unix.Stat_t
				if err := unix.Lstat(path, &is); err != nil || is.Mode != unix.S_IFREG|0o755 || is.Uid != uint32(os.Geteuid()) {
					t.Errorf("%s has mode %o and owner %d, %v", program, is.Mode, is.Uid, err)
				}
			}
			if r := n.install(t); r.changed() || len(r.Warnings) > 0 {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

func TestADryRunFailsWhereTheInstallationWould(t *testing.T) {
	list := map[string]string{"10-pods.conflist": bridgeList}
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, n node)
		want    error
	}{
		"a directory with the name of the reaper's program": {func(t *testing.T, n node) { write(t, filepath.Join(n.reaper(), "file"), "") }, unix.EISDIR},
		"an empty directory with the name of the plugin":    {func(t *testing.T, n node) { mkdir(t, filepath.Join(n.config.BinDir, spec.PluginType)) }, unix.EISDIR},
		"plugins on a read-only mount":                      {func(t *testing.T, n node) { readOnly(t, n.config.BinDir) }, unix.EROFS},
		"networks on a read-only mount":                     {func(t *testing.T, n node) { readOnly(t, n.config.ConfDir) }, unix.EROFS},
	} {
		for _, copies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, copy %t", name, copies), func(t *testing.T) {
				n := newNode(t, list)
				n.config.Copy = copies
				tt.prepare(t, n)
				dry := n.config
				dry.DryRun = true
				if r, err := Install(t.Context(), dry); !errors.Is(err, tt.want) {
					t.Errorf("the dry run returns %+v, %v; want %v", r, err, tt.want)
				}
				n.want(t, list)
				if r, err := Install(t.Context(), n.config); !errors.Is(err, tt.want) {
					t.Errorf("the installation returns %+v, %v; want %v", r, err, tt.want)
				}
				n.want(t, list)
			})
		}
	}
	t.Run("another user's directory", func(t *testing.T) {
		n := newNode(t, list)
		if err := os.Chmod(filepath.Dir(n.dir()), 0o755); err != nil { // which is root's alone
			t.Fatal(err)
		}
		dry := n.config
		dry.DryRun = true
		for _, c := range []Config{dry, n.config} {
			asNobody(t, func() {
				if r, err := Install(t.Context(), c); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "run this as root") {
					t.Errorf("dry run %t: got %+v, %v", c.DryRun, r, err)
				}
			})
		}
		n.want(t, list)
	})
	t.Run("nothing to write on a read-only mount", func(t *testing.T) {
		n := newNode(t, list)
		n.install(t)
		readOnly(t, n.config.BinDir)
		readOnly(t, n.config.ConfDir)
		n.config.DryRun = true
		if r := n.install(t); r.Changed || r.changed() {
			t.Errorf("got %+v", r)
		}
	})
}

func TestUninstallRemovesNoProgramIfItCannotRemoveBoth(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.install(t)
	if err := os.Remove(n.reaper()); err != nil {
		t.Fatal(err)
	}
	mkdir(t, n.reaper())
	for _, n.config.DryRun = range []bool{true, false} {
		if r, err := Uninstall(t.Context(), n.config, true); !errors.Is(err, unix.EISDIR) || r.Plugin.Changed || !n.runnable(t) {
			t.Errorf("dry run %t: got %+v, %v", n.config.DryRun, r, err)
		}
	}
	if err := os.Remove(n.reaper()); err != nil {
		t.Fatal(err)
	}
	readOnly(t, n.config.BinDir)
	for _, n.config.DryRun = range []bool{true, false} {
		if r, err := Uninstall(t.Context(), n.config, true); !errors.Is(err, unix.EROFS) || !n.runnable(t) {
			t.Errorf("dry run %t on a read-only mount: got %+v, %v", n.config.DryRun, r, err)
		}
	}
}

func TestUninstallersAtOnceAllSucceed(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	for range 20 {
		n.install(t)
		var all sync.WaitGroup
		var removed atomic.Int32
		for range 4 {
			all.Go(func() {
				r, err := Uninstall(t.Context(), n.config, true)
				if err != nil {
					t.Error(err)
				}
				if r.changed() {
					removed.Add(1)
				}
			})
		}
		all.Wait()
		if n.runnable(t) || n.link(t) != "" || removed.Load() != 1 {
			t.Errorf("%d report that they removed the programs", removed.Load())
		}
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestInstallWarnsOfWhatADDWillNotStart(t *testing.T) {
	n, root := below(t)
	if r := n.install(t); len(r.Warnings) > 0 {
		t.Errorf("warnings %q of directories of root", r.Warnings)
	}
	if err := os.Chmod(filepath.Join(root, "usr/lib"), 0o777); err != nil {
		t.Fatal(err)
	}
	r := n.install(t)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "ADD will not start the reaper: directory /usr/lib: writable by other users than root (mode 0777)") ||
		!strings.Contains(r.Warnings[0], "--reaper external") {
		t.Errorf("warnings %q", r.Warnings)
	}
	if err := os.Chmod(filepath.Join(root, "usr/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, n.config.Command, "#!/bin/sh\n")
	r = n.install(t)
	if len(r.Warnings) != 1 || !strings.HasSuffix(r.Warnings[0],
		"/usr/lib/cni/halfclose-reaper: not executable: a script, or no ELF program: run halfclose reaper as a service and install with --reaper external") {
		t.Errorf("warnings %q of a script", r.Warnings)
	}
	n.config.Entry = entry(t, `{"reaper": "external"}`)
	if r := n.install(t); len(r.Warnings) > 0 {
		t.Errorf("warnings %q where it starts none", r.Warnings)
	}
}

// fakePlugin answers as the plugin of a build does.
func fakePlugin(t *testing.T, path string, info buildinfo.Info) {
	t.Helper()
	write(t, path, `#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0"]}' && exit
echo "`+info.PluginLine()+`" >&2
exit 2
`)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestThePluginIsFoundWhereItIsBuiltOrPackaged(t *testing.T) {
	own := buildinfo.Info{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8", Platform: "linux/amd64"}
	older := own
	older.Version = "v1.2.2"
	for _, tt := range []struct {
		name    string
		plugins map[string]buildinfo.Info
		want    string
		wantErr string
	}{
		{name: "built", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": own}, want: "bin/cni/halfclose"},
		{name: "packaged", plugins: map[string]buildinfo.Info{"lib/halfclose/cni/halfclose": own}, want: "lib/halfclose/cni/halfclose"},
		{name: "both", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": own, "lib/halfclose/cni/halfclose": older}, want: "bin/cni/halfclose"},
		{name: "none", wantErr: "bin/cni/halfclose nor "},
		{
			name: "of another build", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": older},
			wantErr: "bin/cni/halfclose is v1.2.2 (commit abc), and this command is v1.2.3 (commit abc): install both of one build, or name it with --plugin",
		},
		{name: "of no build", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": {}}, wantErr: "does not say which build it is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for path, info := range tt.plugins {
				fakePlugin(t, filepath.Join(dir, path), info)
			}
			got, err := FindPlugin(t.Context(), filepath.Join(dir, "bin/halfclose"), own.Build())
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || !strings.Contains(err.Error(), "--plugin") {
					t.Errorf("got %v, want %q in it", err, tt.wantErr)
				}
				return
			}
			if err != nil || got != filepath.Join(dir, tt.want) {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
	t.Run("what answers no VERSION", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "bin/cni/halfclose"), "text")
		if _, err := FindPlugin(t.Context(), filepath.Join(dir, "bin/halfclose"), own.Build()); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("got %v", err)
		}
	})
}
