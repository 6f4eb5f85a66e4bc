// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/deploy/seccomp"
)

// unitCapabilities returns the capabilities of all CapabilityBoundingSet= lines of the unit.
func unitCapabilities(t *testing.T) (names []string) {
	t.Helper()
	return unitList(t, "CapabilityBoundingSet=")
}

// unitList returns the values of all lines of the unit with a key. An empty line resets the list (systemd.exec(5)).
func unitList(t *testing.T, key string) (names []string) {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), key)
		switch {
		case ok && value == "":
			names = nil
		case ok:
			names = append(names, strings.Fields(value)...)
		}
	}
	return names
}

func TestSystemdFindsNothingWrongWithTheUnit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	const path = "/etc/systemd/system/halfclose.service"
	if out, code := m.try("systemd-analyze", "verify", "--man=no", path); code != 0 || out != "" {
		t.Errorf("systemd-analyze verify: exit code %d:\n%s", code, out)
	}
	// It reports a mistake.
	m.run("sed", "-i", "s/^ProtectHome=/ProtectHmoe=/", path)
	if out, _ := m.try("systemd-analyze", "verify", "--man=no", path); !strings.Contains(out, "ProtectHmoe") {
		t.Errorf("systemd-analyze verify accepts a misspelt key: %q", out)
	}
}

// maxExposure is the limit for "systemd-analyze security", in tenths: 0 is a service without any access, and 100 one
// without a sandbox. The rest is due to the unit's four capabilities, network namespaces, bpf(2), pidfd_getfd(2), for which
// systemd counts all of @debug, the host's network and access to all processes.
const maxExposure = "31"

func TestTheUnitIsNoMoreExposedThanItMustBe(t *testing.T) {
	systemdBinary(t)
	security := func(unit string) (string, error) {
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+maxExposure, unit).CombinedOutput()
		return string(out), err
	}
	if out, err := security(unitFile); err != nil {
		t.Errorf("systemd-analyze security: %v:\n%s", err, out)
	}
	// Each line of the unit lowers the exposure.
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	looser := filepath.Join(t.TempDir(), "halfclose.service")
	if err := os.WriteFile(looser, []byte(strings.Replace(string(b), "\nProtectClock=yes\n", "\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := security(looser); err == nil {
		t.Errorf("without ProtectClock the exposure is not higher:\n%s", out)
	}
}

// TestTheUnitAllowsTheSystemCallsOfTheProfile compares names: systemd has no conditions on arguments.
func TestTheUnitAllowsTheSystemCallsOfTheProfile(t *testing.T) {
	data, err := seccomp.File(seccomp.Reaper)
	if err != nil {
		t.Fatal(err)
	}
	var profile struct{ Syscalls []struct{ Names []string } }
	if err := json.Unmarshal(data, &profile); err != nil {
		t.Fatal(err)
	}
	allowed := make(map[string]bool)
	for _, r := range profile.Syscalls {
		for _, name := range r.Names {
			allowed[name] = true
		}
	}
	// The profile allows them with some arguments, the latter two for commands. Under systemd they could open any file, and send
	// any signal.
	for _, name := range []string{"open_by_handle_at", "kill", "pidfd_send_signal"} {
		delete(allowed, name)
	}
	unit := unitList(t, "SystemCallFilter=")
	slices.Sort(unit)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(allowed)), unit); diff != "" {
		t.Errorf("deploy/seccomp/reaper.json and the unit's SystemCallFilter= (-profile +unit)\n%s", diff)
	}
}

func TestInstallNamesTheCapabilitiesOfTheUnit(t *testing.T) {
	b, err := os.ReadFile(top + "/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| reaper") {
			for _, name := range regexp.MustCompile(`CAP_[A-Z_]+`).FindAllString(line, -1) {
				named[name] = true
			}
		}
	}
	want := slices.Sorted(slices.Values(unitCapabilities(t)))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(named))); diff != "" {
		t.Errorf("the table of privileges in docs/install.md (-unit +page)\n%s", diff)
	}
}
