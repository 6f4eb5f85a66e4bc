// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/test/node"
)

// machine is a set of namespaces whose first process is a systemd. It has the host's /usr, read-only; everything else is
// its own.
type machine struct {
	t    *testing.T
	root string // the path of its root directory
	pid  int    // of systemd, on the node
	bare bool   // the programs under test are in unpacked, not installed
	// previous, unless empty, is the directory of the release before, which a bare machine has beside the build under test.
	previous string
	// packages, unless empty, is the directory of the packages for a bare machine, see packages_test.go.
	packages string
}

// newMachine returns a machine with halfclose installed as README.md says. boot starts it, and it is gone when the test
// ends.
func newMachine(t *testing.T) *machine {
	t.Helper()
	node.Need(t)
	systemdBinary(t)
	return (&machine{t: t, root: t.TempDir()}).furnish(unitFile)
}

// newBareMachine returns a machine without halfclose.
func newBareMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.bare = true
	return m
}

// newPreviousMachine returns a machine with two builds, neither of which is installed: the one under test, and the release
// before, whose unit it has.
func newPreviousMachine(t *testing.T) *machine {
	t.Helper()
	node.Need(t)
	systemdBinary(t)
	m := &machine{t: t, root: t.TempDir(), bare: true, previous: node.NeedPrevious(t)}
	return m.furnish(filepath.Join(m.previous, "systemd/halfclose.service"))
}

// furnish writes the machine's configuration with this unit file, if any.
func (m *machine) furnish(unitFile string) *machine {
	m.t.Helper()
	m.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n") // prose:ok: the name of a user
	m.write("etc/group", "root:x:0:\nadm:x:4:\ntty:x:5:\nutmp:x:43:\nsystemd-journal:x:101:\nnogroup:x:65534:\n")
	m.write("etc/machine-id", "")
	m.write("etc/cni/net.d/10-net.conflist", `{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp"}]}`)
	if unitFile != "" {
		unit, err := os.ReadFile(unitFile)
		if err != nil {
			m.t.Fatal(err)
		}
		m.write("etc/systemd/system/halfclose.service", string(unit))
	}
	for _, masked := range unneeded() {
		if err := os.Symlink("/dev/null", filepath.Join(m.root, "etc/systemd/system", masked)); err != nil {
			m.t.Fatal(err)
		}
	}
	return m
}

// unneeded lists units of a plain installation that the tests do not need.
func unneeded() []string {
	return []string{
		"dbus.service", "dbus.socket", "getty.target", "console-getty.service", "systemd-logind.service",
		"systemd-modules-load.service", "systemd-random-seed.service", "systemd-sysctl.service", "systemd-sysusers.service",
		"systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service",
		"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-update-utmp.service",
		"systemd-update-utmp-runlevel.service", "systemd-user-sessions.service",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
		"sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	}
}

// write writes a file on the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// configure adds lines to the service in a drop-in, as "systemctl edit" does.
func (m *machine) configure(lines ...string) {
	m.t.Helper()
	m.write("etc/systemd/system/halfclose.service.d/test.conf", "[Service]\n"+strings.Join(lines, "\n")+"\n")
}

// systemdBinary returns the path of systemd. If it is not installed, the test is skipped; if CI is set, the test fails.
func systemdBinary(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	nstest.Skip(t, "systemd is not installed: run apt-get install systemd")
	return ""
}

// boot starts the machine, waits until systemd has finished booting, and installs halfclose unless the machine is bare.
func (m *machine) boot() {
	m.t.Helper()
	cgroup := newCgroup(m.t)
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{os.Args[0]}, Stdout: &output, Stderr: &output,
		Env: []string{
			roleVar + "=machine", "ROOT=" + m.root, "SELF=" + self, "SYSTEMD=" + systemdBinary(m.t),
			"BIN=" + os.Getenv(binVar), "BARE=" + strconv.FormatBool(m.bare), "PREVIOUS=" + m.previous,
			"PACKAGES=" + m.packages,
		},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
			Setsid:      true,
			Pdeathsig:   unix.SIGKILL,
			UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		},
	}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the kernel kills the machine with the thread that started it
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it exits only if it cannot start
		}
	}()
	if err := <-started; err != nil {
		m.t.Fatalf("start the machine: %v", err)
	}
	m.pid = cmd.Process.Pid
	m.t.Cleanup(func() {
		if m.t.Failed() {
			log, _ := m.try("journalctl", "--no-pager", "-o", "short-monotonic", "-n", "200")
			m.t.Logf("the machine's journal:\n%s", log)
		}
		_ = cmd.Process.Kill() // the kernel kills all processes of the machine with it
		<-exited
		if output.Len() > 0 {
			m.t.Logf("the output of the machine:\n%s", &output)
		}
	})
	nstest.Eventually(m.t, testnode.Patience, "the machine has booted", func() bool {
		select {
		case <-exited:
			m.t.Fatalf("the machine has exited: %v", cmd.ProcessState)
		default:
		}
		state, _ := m.try("systemctl", "is-system-running", "--wait")
		return state == "running\n" || state == "degraded\n"
	})
	if !m.bare {
		m.install()
	}
}

// install runs "halfclose install" on the machine.
func (m *machine) install() { m.run("halfclose", "install") }

// command prepares a command on the machine.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.pid), "-m", "-u", "-i", "-n", "-p", "--", name}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="}
	return cmd
}

// try runs a command on the machine, and returns its output and exit code.
func (m *machine) try(name string, args ...string) (output string, code int) {
	m.t.Helper()
	cmd := m.command(name, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// run runs a command on the machine that must succeed, and returns its output.
func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, code := m.try(name, args...)
	if code != 0 {
		m.t.Fatalf("%s %s: exit code %d:\n%s", name, strings.Join(args, " "), code, out)
	}
	return out
}

// property returns a property of the service, as systemd reports it.
func (m *machine) property(name string) string {
	m.t.Helper()
	return strings.TrimSuffix(m.run("systemctl", "show", "--value", "-p", name, "halfclose"), "\n")
}

// mainPID returns the PID of the reaper on the machine, 0 if none is running.
func (m *machine) mainPID() int {
	m.t.Helper()
	pid, err := strconv.Atoi(m.property("MainPID"))
	if err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// journal returns journald's entries of the service that match these arguments of journalctl, oldest first.
func (m *machine) journal(args ...string) (entries []map[string]any) {
	m.t.Helper()
	out := m.run("journalctl", append([]string{"-u", "halfclose", "--no-pager", "-q", "-o", "json"}, args...)...)
	for line := range strings.Lines(out) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			m.t.Fatalf("journalctl prints %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// logged waits for a journald entry of the service whose message has this prefix, and returns it.
func (m *machine) logged(message string, args ...string) (entry map[string]any) {
	m.t.Helper()
	nstest.Eventually(m.t, testnode.Patience, "journald has an entry: "+message, func() bool {
		for _, e := range m.journal(args...) {
			if text, ok := e["MESSAGE"].(string); ok && strings.HasPrefix(text, message) {
				entry = e
				return true
			}
		}
		return false
	})
	return entry
}
