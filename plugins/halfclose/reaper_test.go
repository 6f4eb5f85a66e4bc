// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
)

// newInstalled is a node with the plugin in a directory that is root's and writable by root alone, and beside it the link
// to the command.
func newInstalled(t *testing.T) (r *runtime, link string) {
	t.Helper()
	r = newRuntime(t)
	bin := t.TempDir()
	if err := launch.CheckDirectory("", "/"); errors.Is(err, launch.ErrNotRoots) {
		nstest.NeedPrivilege(t, "start a program below /, which is another user's in a user namespace", err)
	}
	if err := launch.CheckDirectory("", bin); err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(bin, "halfclose")
	copyFile(t, r.binary, plugin)
	command := filepath.Join(bin, "sbin", "halfclose")
	if err := os.Mkdir(filepath.Dir(command), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(filepath.Dir(r.binary), commandDir, "halfclose"), command)
	link = filepath.Join(bin, launch.ReaperName)
	if err := os.Symlink(command, link); err != nil {
		t.Fatal(err)
	}
	r.binary = plugin
	return r, link
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// auto is a configuration with a prevResult and reaper auto.
func auto() string { return strings.Replace(chained("1.0.0", ""), `"external"`, `"auto"`, 1) }

func TestAddStartsOneReaperAndDoesNotWaitForIt(t *testing.T) {
	r, link := newInstalled(t)
	// call returns once stdout and stderr are closed everywhere: the reaper does not keep them open.
	if e := r.call(t, "ADD", auto(), nil); e.code != 0 || e.stderr != "" {
		t.Fatalf("ADD: %+v", e)
	}
	nstest.Eventually(t, 20*time.Second, "the reaper listens", func() bool { return launch.Running(r.store.SocketPath()) })
	pid := listener(t, r.store.SocketPath())
	reaper, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reaper.Kill() }) // it still runs only if the test has failed
	command, _ := os.Readlink(link)
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != command {
		t.Errorf("the reaper runs %s (%v), want %s", exe, err, command)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || string(name) != "halfclose\n" {
		t.Errorf("the reaper's process is called %q, %v", name, err)
	}
	if e := r.call(t, "ADD", auto(), nil); e.code != 0 || e.stderr != "" {
		t.Fatalf("ADD beside a reaper: %+v", e)
	}
	if again := listener(t, r.store.SocketPath()); again != pid {
		t.Errorf("process %d listens, before it was %d", again, pid)
	}
	if err := reaper.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, 20*time.Second, "the reaper exits", func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // a zombie has none
		return err != nil
	})
}

// execFormatError is the kernel's reason to refuse a program of another machine.
const execFormatError = "exec format error"

func TestAForeignReaperIsNotStartedAndThePodRuns(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(r *runtime, link, command string) error
		warns string
	}{
		{"none", func(_ *runtime, link, _ string) error { return os.Remove(link) }, "halfclose-reaper: missing"},
		{"a link that leads nowhere", func(_ *runtime, _, command string) error { return os.Remove(command) }, "/sbin/halfclose, which is missing"},
		{
			"writable by others", func(_ *runtime, _, command string) error { return os.Chmod(command, 0o777) },
			"/sbin/halfclose: writable by other users than root (mode 0777)",
		},
		{"below a directory that others may write to", func(_ *runtime, _, command string) error {
			return os.Chmod(filepath.Dir(command), 0o777|os.ModeSticky)
		}, "/sbin: writable by other users than root (mode 1777)"},
		{
			"of another user", func(_ *runtime, _, command string) error { return os.Chown(command, 1000, 1000) },
			"/sbin/halfclose: not owned by root but by user 1000",
		},
		{
			"below a directory of another user", func(_ *runtime, _, command string) error { return os.Chown(filepath.Dir(command), 1000, 1000) },
			"/sbin: not owned by root but by user 1000",
		},
		{"the plugin itself", func(r *runtime, link, _ string) error {
			return errors.Join(os.Remove(link), os.Symlink(filepath.Base(r.binary), link))
		}, "halfclose-reaper: the plugin itself"},
		{"the plugin itself under the command's name", func(r *runtime, _, command string) error {
			return errors.Join(os.Remove(command), os.Link(r.binary, command))
		}, "halfclose-reaper: the plugin itself"},
		{"a copy of the plugin", func(r *runtime, _, command string) error {
			data, err := os.ReadFile(r.binary)
			return errors.Join(err, os.WriteFile(command, data, 0o755))
		}, "halfclose-reaper: the plugin itself"},
		{
			"a script", func(_ *runtime, _, command string) error {
				return os.WriteFile(command, []byte("#!/bin/sh\ntouch \"$0.ran\"\n"), 0o755)
			}, "/sbin/halfclose: not executable: a script, or no ELF program",
		},
		{
			"not executable", func(_ *runtime, _, command string) error { return os.Chmod(command, 0o644) },
			"/sbin/halfclose: not a regular executable file",
		},
		{
			"no program of this machine", func(_ *runtime, _, command string) error { return os.WriteFile(command, []byte("\x7fELF"), 0o755) },
			execFormatError,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, link := newInstalled(t)
			command, err := os.Readlink(link)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(r, link, command); errors.Is(err, unix.EINVAL) {
				nstest.NeedPrivilege(t, "give a file to another user", err)
			} else if err != nil {
				t.Fatal(err)
			}
			e := r.call(t, "ADD", strings.Replace(auto(), "{", `{"failurePolicy": "fail", `, 1), nil)
			if e.code != 0 || !strings.Contains(e.stdout, "example.org") {
				t.Errorf("%+v, want the result of the plugins before it", e)
			}
			record, err := r.store.Get(attachment)
			if err != nil {
				t.Fatal(err)
			}
			// The kernel refuses a program after the record is written.
			if want := tt.warns != execFormatError; want != (len(record.Warnings) == 1 && strings.Contains(record.Warnings[0], tt.warns)) {
				t.Errorf("the record's warnings are %q, want one with %q: %v", record.Warnings, tt.warns, want)
			}
			if !strings.Contains(e.stderr, tt.warns) {
				t.Errorf("stderr %q, want %q in it", e.stderr, tt.warns)
			}
			if launch.Running(r.store.SocketPath()) {
				t.Error("a reaper runs")
			}
			if e := r.call(t, "DEL", auto(), nil); e.code != 0 {
				t.Errorf("DEL: %+v", e)
			}
		})
	}
}

// During an upgrade the plugin that runs has no name any more, and the link may lead to the one that took its name.
func TestThePluginThatTookThisOnesNameIsNotStarted(t *testing.T) {
	r, link := newInstalled(t)
	if err := errors.Join(os.Remove(link), os.Symlink(filepath.Base(r.binary), link)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(r.binary, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := os.NewFile(uintptr(fd), r.binary)
	defer old.Close()
	data, err := os.ReadFile(r.binary)
	if err != nil {
		t.Fatal(err)
	}
	next := r.binary + ".next" // of another build, which has another size
	if err := errors.Join(os.WriteFile(next, append(data, 0), 0o755), os.Rename(next, r.binary)); err != nil {
		t.Fatal(err)
	}
	plugin := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	plugin.ExtraFiles = []*os.File{old}
	plugin.Env = []string{}
	out, _ := plugin.CombinedOutput() // it exits 2
	if want := "cannot start it as the reaper: " + link + ": the plugin itself"; !strings.Contains(string(out), want) {
		t.Errorf("it prints\n%s\nwant %q in it", out, want)
	}
}

func TestThePluginItselfReportsThatItsReaperIsOnANoexecMount(t *testing.T) {
	r, link := newInstalled(t)
	command, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	describe := func() string {
		plugin := exec.CommandContext(t.Context(), r.binary)
		plugin.Env = []string{}
		out, _ := plugin.CombinedOutput() // it exits 2
		return string(out)
	}
	if out := describe(); !strings.Contains(out, "which ADD starts as the reaper: "+command) {
		t.Errorf("before, it prints\n%s", out)
	}
	dir := filepath.Dir(command)
	if err := unix.Mount("halfclose-test", dir, "tmpfs", unix.MS_NOEXEC, "mode=755"); errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "mount a tmpfs", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	copyFile(t, filepath.Join(filepath.Dir(binary(t, "halfclose")), commandDir, "halfclose"), command)
	want := "cannot start it as the reaper: " + command + ": not executable: on a file system that is mounted noexec"
	if out := describe(); !strings.Contains(out, want) {
		t.Errorf("it prints\n%s\nwant %q in it", out, want)
	}
}

// listener returns the process that listens on a unix socket.
func listener(t *testing.T, path string) int {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		t.Fatal(err)
	}
	if credErr != nil {
		t.Fatal(credErr)
	}
	return int(cred.Pid)
}
