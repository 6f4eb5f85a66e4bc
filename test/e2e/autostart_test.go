// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestAddReturnsWhileItsReaperKeepsRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)

	leaked, err := os.Create(filepath.Join(t.TempDir(), "leaked"))
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	add := w.plugin("ADD", c.attachment(), c.path, pluginConf(""))
	add.ExtraFiles = []*os.File{leaked, leaked, leaked} // without close-on-exec in the plugin
	add.Env = append(add.Env, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=x", "NOTIFY_SOCKET=/n", "SECRET=x")
	add.Dir = t.TempDir()
	// run waits for EOF on the plugin's stdout and stderr, as libcni does: it returns only if no process has them open.
	if r := run(t, add); r.code != 0 || r.stderr != "" {
		t.Fatalf("ADD: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	pid := w.AwaitStatus().Holder.PID
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		for _, bad := range []string{"CNI_", "NOTIFY_SOCKET", "SECRET"} {
			if strings.HasPrefix(kv, bad) {
				t.Errorf("its environment has %s", kv)
			}
		}
	}
	for fd, target := range descriptors(t, pid) {
		if fd <= 2 && target != "/dev/null" || target == leaked.Name() || strings.HasPrefix(target, "pipe:") {
			t.Errorf("its descriptor %d is %s", fd, target)
		}
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d (%v), not its own, %d", sid, err, pid)
	}
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || dir != "/" {
		t.Errorf("its directory is %s (%v)", dir, err)
	}
}

// descriptors returns the targets of a process's open descriptors.
func descriptors(t *testing.T, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[int]string)
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // else closed since
			all[fd] = target
		}
	}
	return all
}

// unsafe is a file in the reaper's place that the plugin refuses to start.
type unsafe struct {
	name  string
	place func(at string) error // installs it at that path
	why   string                // the warning, with DIR for the plugin's directory
}

func unsafes() []unsafe {
	const other = 65534 // the ID of an ordinary user
	// below installs the command in a directory with that mode beside the plugin, and a link to it.
	below := func(mode os.FileMode) func(string) error {
		return func(at string) error {
			dir := filepath.Join(filepath.Dir(at), "open")
			return errors.Join(os.Mkdir(dir, 0o755), copyFile(halfclose(), filepath.Join(dir, "halfclose")), os.Chmod(dir, mode),
				os.Symlink("open/halfclose", at))
		}
	}
	return []unsafe{
		{"missing", func(string) error { return nil }, "DIR/halfclose-reaper: missing"},
		{"a dangling link", func(at string) error { return os.Symlink("/run/gone/halfclose", at) }, "DIR/halfclose-reaper: leads to /run/gone, which is missing"},
		{"writable by all", func(at string) error {
			return errors.Join(copyFile(halfclose(), at), os.Chmod(at, 0o777))
		}, "DIR/halfclose-reaper: writable by other users than root"},
		{"another user's", func(at string) error {
			return errors.Join(copyFile(halfclose(), at), os.Chown(at, other, other))
		}, "DIR/halfclose-reaper: not owned by root"},
		{"a link to another user's", func(at string) error {
			program := filepath.Join(filepath.Dir(at), "other")
			return errors.Join(copyFile(halfclose(), program), os.Chown(program, other, other), os.Symlink("other", at))
		}, "DIR/other: not owned by root"},
		{"below a directory that others may write to", below(0o777), "directory DIR/open: writable by other users than root"},
		{"below a directory like /tmp", below(0o777 | os.ModeSticky), "directory DIR/open: writable by other users than root"},
		{"the plugin itself", func(at string) error { return os.Symlink("halfclose", at) }, "DIR/halfclose-reaper: the plugin itself"},
		{"a copy of the plugin", func(at string) error {
			return copyFile(filepath.Join(pluginDir(), "halfclose"), at)
		}, "DIR/halfclose-reaper: the plugin itself"},
		{"a script", func(at string) error {
			return os.WriteFile(at, []byte("#!/bin/sh\nexec "+halfclose()+" \"$@\"\n"), 0o755)
		}, "DIR/halfclose-reaper: not executable: a script, or no ELF program"},
		{"not executable", func(at string) error {
			return errors.Join(copyFile(halfclose(), at), os.Chmod(at, 0o644))
		}, "DIR/halfclose-reaper: not a regular executable file"},
	}
}

// copyFile copies a program with another process: if this process had the copy open for writing, a child that it forks at
// that moment would have it too, and executing the copy would fail.
func copyFile(from, to string) error {
	return exec.Command("install", "-m", "755", from, to).Run()
}

// pluginBeside creates a directory with the plugin, and installs a file beside it in the reaper's place.
func (w *world) pluginBeside(t *testing.T, place func(at string) error) (dir string) {
	t.Helper()
	dir = filepath.Join(w.dir, "bin")
	err := errors.Join(os.Mkdir(dir, 0o755), copyFile(filepath.Join(pluginDir(), "halfclose"), filepath.Join(dir, "halfclose")))
	if err != nil {
		t.Fatal(err)
	}
	err = place(filepath.Join(dir, launch.ReaperName))
	if errors.Is(err, unix.EINVAL) { // the user namespace has no other user
		nstest.NeedPrivilege(t, "give a file to another user", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAReaperThatAnotherUserCouldReplaceIsNotStartedAndThePodRuns(t *testing.T) {
	t.Parallel()
	for _, tt := range unsafes() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := w.pluginBeside(t, tt.place)
			c := newContainer(t, nil)
			add := w.plugin("ADD", c.attachment(), c.path, pluginConf(`, "closeWaitGrace": "1s"`))
			add.Path = filepath.Join(dir, "halfclose")
			r := run(t, add)
			if r.code != 0 || !strings.Contains(r.stdout, `"cniVersion": "1.0.0"`) {
				t.Fatalf("ADD: exit code %d: %s%s", r.code, r.stdout, r.stderr)
			}
			why := strings.ReplaceAll(tt.why, "DIR", dir)
			if !strings.Contains(r.stderr, why) {
				t.Errorf("on stderr there is\n%swant\n%s", r.stderr, why)
			}
			record, err := w.Store.Get(c.attachment())
			if err != nil {
				t.Fatal(err)
			}
			if len(record.Warnings) != 1 || !strings.Contains(record.Warnings[0], why) {
				t.Errorf("the record's warnings are %q, want one with %s", record.Warnings, why)
			}
			if _, err := os.Stat(w.Store.LockPath()); !os.IsNotExist(err) {
				t.Errorf("a reaper has been started: %v", err)
			}

			// The pod is registered: a reaper that is started in another way destroys its leak and shows the warning.
			p := w.start(t)
			w.holds(t, p.PID())
			destroyed(t, "the leak", leak(t, c))
			if out := w.run(t, "status", "--output", "wide").stdout; !strings.Contains(out, why) {
				t.Errorf("status does not show %q:\n%s", why, out)
			}
		})
	}
}

func TestAReaperThatRootAloneCouldReplaceIsStarted(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(at string) error{
		"a link to the command": func(at string) error { return os.Symlink(halfclose(), at) },
		"a copy of it":          func(at string) error { return copyFile(halfclose(), at) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := w.pluginBeside(t, place)
			c := newContainer(t, nil)
			add := w.plugin("ADD", c.attachment(), c.path, pluginConf(""))
			add.Path = filepath.Join(dir, "halfclose")
			if r := run(t, add); r.code != 0 || r.stderr != "" {
				t.Fatalf("ADD: exit code %d: %s%s", r.code, r.stdout, r.stderr)
			}
			if by := w.AwaitStatus().Holder.StartedBy; by != api.ByPlugin {
				t.Errorf("the reaper was started by %q", by)
			}
		})
	}
}

func TestAddWithAReaperThatIsExternalStartsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	w.add(t, network(t, `"reaper": "auto"`, `"reaper": "external"`), c)
	if _, err := os.Stat(w.Store.LockPath()); !os.IsNotExist(err) {
		t.Errorf("a reaper has been started: %v", err)
	}
}

func TestTheSwitchInTheStateDirectoryCapsTheMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(t, network(t), newContainer(t, nil))
	s := w.AwaitStatus()
	if s.Mode.Effective != policy.Destroy {
		t.Errorf("the mode is %v before the switch is set", s.Mode.Effective)
	}
	setSwitch(t, w, policy.Observe)
	eventuallyMode(t, w, policy.Observe)
	setSwitch(t, w, policy.Destroy)
	eventuallyMode(t, w, policy.Destroy)
}
