// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// procStatus returns the fields of the reaper's /proc/PID/status.
func (m *machine) procStatus() map[string]string {
	m.t.Helper()
	fields := make(map[string]string)
	for line := range strings.Lines(m.run("cat", fmt.Sprintf("/proc/%d/status", m.mainPID()))) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

func TestTheServiceHasTheUnitsCapabilitiesAndNoOthers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	var want uint64
	for _, name := range unitCapabilities(t) {
		want |= 1 << capabilities()[name]
	}
	none := fmt.Sprintf("%016x", 0)
	got := m.procStatus()
	for field, want := range map[string]string{
		"CapBnd": fmt.Sprintf("%016x", want), "CapPrm": fmt.Sprintf("%016x", want), "CapEff": fmt.Sprintf("%016x", want),
		"CapInh": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got[field] != want {
			t.Errorf("%s is %s, want %s", field, got[field], want)
		}
	}
}

// An attacker who controls the reaper has its mount namespace.
func TestTheServiceWritesToItsDirectoriesOnly(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("ip", "netns", "add", "early")
	m.run("systemctl", "start", "halfclose")
	m.run("ip", "netns", "add", "later")
	pid := strconv.Itoa(m.mainPID())
	inside := func(name string, args ...string) (string, int) {
		t.Helper()
		return m.try("nsenter", append([]string{"-t", pid, "-m", "--", name}, args...)...)
	}
	for _, dir := range []string{
		"/", "/etc", "/usr/local/bin", "/opt/cni/bin", "/run", "/run/lock", "/run/netns", "/run/systemd", "/var", "/var/lib", "/var/log",
		"/sys/fs/cgroup", "/sys/kernel", "/home", "/root", "/dev",
	} {
		if out, code := inside("touch", dir+"/test"); code == 0 || !strings.Contains(out, "Read-only file system") {
			t.Errorf("a file can be created in %s: %s", dir, out)
		}
	}
	if out, code := inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"); code == 0 || !strings.Contains(out, "Read-only file system") {
		t.Errorf("a sysctl can be set: %s", out)
	}
	for _, dir := range []string{runtimeDir, stateDir} {
		if out, code := inside("touch", dir+"/test"); code != 0 {
			t.Errorf("no file can be created in %s: %s", dir, out)
		}
		if info, err := os.Stat(m.at(dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	// Later mounts of the host are visible to the service.
	if out, code := inside("stat", "-f", "-c", "%T", "/run/netns/later"); code != 0 || out != "nsfs\n" {
		t.Errorf("the path of a later namespace leads to %s", out)
	}
}

func TestTheSandboxPermitsWhatTheReaperNeedsAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	// This program runs in place of the reaper. The C library starts its threads by clone3, which the reaper does not have.
	m.configure("ExecStart=", "ExecStart="+container, "SystemCallFilter=clone3", "Environment="+roleVar+"=attempts", "Type=oneshot", "WatchdogSec=0", "Restart=no")
	m.boot()
	m.run("systemctl", "start", "halfclose")
	want := make(map[string]string)
	for name, a := range attempts() {
		want[name] = a.want
	}
	if diff := cmp.Diff(want, m.attempted()); diff != "" {
		t.Errorf("results of the attempts (-want +got)\n%s", diff)
	}
	// Outside of the sandbox the same attempts succeed.
	m.run("env", roleVar+"=attempts", container)
	for name, got := range m.attempted() {
		if want := attempts()[name].want; want != "ok" && got == want {
			t.Errorf("%s returns %s outside of the sandbox too: the test proves nothing", name, got)
		}
	}
}

// attempted reads the results of the attempts.
func (m *machine) attempted() (results map[string]string) {
	m.t.Helper()
	b, err := os.ReadFile(m.at(attemptsFile))
	if err == nil {
		err = json.Unmarshal(b, &results)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return results
}
