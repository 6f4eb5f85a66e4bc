// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/launch"
)

// link returns the target of the reaper's program, "" if it is absent or no symbolic link.
func (n node) link(t testing.TB) string {
	t.Helper()
	to, err := os.Readlink(filepath.Join(n.config.BinDir, launch.ReaperName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "invalid argument") {
		t.Fatal(err)
	}
	return to
}

func (n node) reaper() string { return filepath.Join(n.config.BinDir, launch.ReaperName) }

// put creates a program in the plugin directory, and returns its path.
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
	t.Run("an existing link stays", func(t *testing.T) {
		n := newNode(t, list)
		if r := n.install(t); !r.Reaper.Changed || n.link(t) != n.config.Command {
			t.Errorf("got %+v", r.Reaper)
		}
		if r := n.install(t); r.Reaper.Changed {
			t.Errorf("the second run: %+v", r.Reaper)
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
	t.Run("a link replaces a copy and vice versa", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Copy = true
		if r := n.install(t); !r.Reaper.Changed || r.Reaper.Link != "" || n.link(t) != "" {
			t.Errorf("got %+v", r.Reaper)
		}
		if data, err := os.ReadFile(n.reaper()); err != nil || string(data) != theCommand || stat(t, n.reaper()).Mode&0o777 != 0o755 {
			t.Errorf("it holds %q, %v", data, err)
		}
		if r := n.install(t); r.Reaper.Changed {
			t.Errorf("the second run: %+v", r.Reaper)
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
	t.Run("with an external reaper there is none, and an existing one stays", func(t *testing.T) {
		n := newNode(t, list)
		n.config.Entry = entry(t, `{"reaper": "external"}`)
		if r := n.install(t); r.Reaper != nil || n.link(t) != "" || !n.isInstalled(t) || r.Warnings != nil {
			t.Errorf("got %+v", r)
		}
		if err := os.Symlink("/before", n.reaper()); err != nil {
			t.Fatal(err)
		}
		if r := n.install(t); r.changed() || n.link(t) != "/before" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("a dry run creates none", func(t *testing.T) {
		n := newNode(t, list)
		n.config.DryRun = true
		if r := n.install(t); !r.Reaper.Changed || !r.Plugin.Changed || n.link(t) != "" || n.isInstalled(t) {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("the temporary file of a killed installer is removed", func(t *testing.T) {
		n := newNode(t, list)
		left := filepath.Join(n.config.BinDir, ".halfclose-0123456789abcdef-"+launch.ReaperName+".tmp")
		if err := os.Symlink(n.config.Command, left); err != nil {
			t.Fatal(err)
		}
		n.install(t)
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) || n.link(t) != n.config.Command {
			t.Errorf("it stays: %v", err)
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

// Releases with a single binary installed it as the plugin, so a newer command may have replaced it there.
func TestACommandAtThePluginsPathIsNotOverwrittenByIt(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.config.Command = n.put(t, spec.PluginType, theCommand)
	before := n.files(t)
	if r, err := Install(t.Context(), n.config); err == nil || !strings.Contains(err.Error(), "which is the plugin's path: move it") {
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

// An entry must never name a plugin that does not exist, and a plugin never start a program that does not exist.
func TestTheReapersProgramIsInstalledFirstAndTheEntryLast(t *testing.T) {
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
		if r, err := Install(t.Context(), n.config); err == nil || r.Plugin.Changed || n.isInstalled(t) {
			t.Errorf("got %+v, %v", r, err)
		}
		n.want(t, list)
	})
	t.Run("the reaper's program is removed after the plugin", func(t *testing.T) {
		n := newNode(t, list)
		n.install(t)
		path := filepath.Join(n.config.BinDir, spec.PluginType)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil { // which unlink(2) does not remove
			t.Fatal(err)
		}
		if r, err := Uninstall(t.Context(), n.config, RemovePrograms); err == nil || n.link(t) == "" || len(r.Files) != 1 {
			t.Errorf("got %+v, %v", r, err)
		}
		n.want(t, list)
	})
}

// ADD starts no program that another user could replace, so install repairs its owner and mode.
func TestInstallRepairsTheOwnerAndModeOfAProgram(t *testing.T) {
	n, root := below(t)
	n.install(t)
	bin := filepath.Join(root, "usr/lib/cni")
	if r := n.install(t); r.changed() {
		t.Errorf("the second run: %+v", r)
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
		if err := os.Chmod(filepath.Dir(n.dir()), 0o755); err != nil { // which only root can enter
			t.Fatal(err)
		}
		dry := n.config
		dry.DryRun = true
		for _, c := range []Config{dry, n.config} {
			asUser(t, func() {
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
		if r, err := Uninstall(t.Context(), n.config, RemovePrograms); !errors.Is(err, unix.EISDIR) || r.Plugin.Changed || !n.isInstalled(t) {
			t.Errorf("dry run %t: got %+v, %v", n.config.DryRun, r, err)
		}
	}
	if err := os.Remove(n.reaper()); err != nil {
		t.Fatal(err)
	}
	readOnly(t, n.config.BinDir)
	for _, n.config.DryRun = range []bool{true, false} {
		if r, err := Uninstall(t.Context(), n.config, RemovePrograms); !errors.Is(err, unix.EROFS) || !n.isInstalled(t) {
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
				r, err := Uninstall(t.Context(), n.config, RemovePrograms)
				if err != nil {
					t.Error(err)
				}
				if r.changed() {
					removed.Add(1)
				}
			})
		}
		all.Wait()
		if n.isInstalled(t) || n.link(t) != "" || removed.Load() != 1 {
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

func TestInstallWarnsOfAProgramThatADDWillNotStart(t *testing.T) {
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
		t.Errorf("warnings %q with an external reaper", r.Warnings)
	}
}

func TestThePluginIsReplacedWhileItRuns(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	path := filepath.Join(n.config.BinDir, spec.PluginType)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(data))
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	running := exec.Command(path, "60")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
	})
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); !errors.Is(err, unix.ETXTBSY) {
		f.Close()
		t.Fatalf("it can be written while it runs: %v", err)
	}
	if r := n.install(t); !r.Plugin.Changed || r.Plugin.Path != path {
		t.Errorf("got %+v", r)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "the program" || stat(t, path).Mode != unix.S_IFREG|0o755 {
		t.Errorf("got %q with mode %o, %v", got, stat(t, path).Mode, err)
	}
	if err := running.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the running one has exited: %v", err)
	}
}

func TestAnEqualPluginIsNotWritten(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	path := filepath.Join(n.config.BinDir, spec.PluginType)
	n.install(t)
	before := stat(t, path)
	if r := n.install(t); r.Plugin.Changed || stat(t, path).Ino != before.Ino || stat(t, path).Mtim != before.Mtim {
		t.Errorf("got %+v", r)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := n.install(t); !r.Plugin.Changed || !n.isInstalled(t) {
		t.Errorf("one that is not executable: %+v", r)
	}
	write(t, path, "the prograM")
	if r := n.install(t); !r.Plugin.Changed {
		t.Errorf("one with another letter: %+v", r)
	}
}
