// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestReloadUpdatesTheStatusLine(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	pid, p := m.mainPID(), m.start(destroy)
	m.destroyed(p.Leak)

	// A reload updates the status line at once.
	m.run("systemctl", "reload", "halfclose")
	want := regexp.MustCompile(`\n +Status: "mode destroy, attachments 1, half-closed \d+( \(oldest \w+\))?, destroyed 1"\n`)
	nstest.Eventually(t, testnode.Patience, "systemctl status shows the destroyed socket", func() bool {
		return want.MatchString(m.run("systemctl", "status", "halfclose"))
	})
	m.logged("reloaded records and mode switch attachments=1 inert=0 problems=0 mode=destroy")
	// A SIGHUP from another process has the same effect.
	m.run("systemctl", "kill", "--kill-whom=main", "-s", "HUP", "halfclose")
	nstest.Eventually(t, testnode.Patience, "the records are read once more", func() bool {
		return len(m.journal("--grep", "^reloaded records and mode switch")) >= 2
	})
	if now := m.mainPID(); now != pid || m.property("ActiveState") != "active" || m.property("NRestarts") != "0" {
		t.Errorf("the service is %s with process %d, which was %d", m.property("ActiveState"), now, pid)
	}
}

func TestStopSavesAgesAndRemovesTheSocket(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "enable", "--now", "halfclose") // systemd forgets a stopped unit, and its result, unless the unit is enabled
	p := m.start(hold)
	nstest.Eventually(t, testnode.Patience, "the leak has an age", func() bool { return m.age(p.Leak) > 3*time.Second })
	before := m.age(p.Leak)
	m.run("systemctl", "stop", "halfclose")
	for name, want := range map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"} {
		if got := m.property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	s := m.node().Store
	if _, err := os.Stat(s.SocketPath()); !os.IsNotExist(err) {
		t.Errorf("the socket still exists: %v", err)
	}
	if _, err := os.Stat(s.CandidatesPath()); err != nil {
		t.Errorf("the candidates were not saved: %v", err)
	}
	if out, code := m.try("halfclose", "status"); code != 1 || !strings.Contains(out, "no reaper is running") {
		t.Errorf("status has exit code %d and prints %s", code, out)
	}
	m.add("later", hold) // a container starts while the service is stopped
	m.run("systemctl", "start", "halfclose")
	if now := m.knownAge(p.Leak); now < before {
		t.Errorf("the leak was %v old before, and is %v now", before, now)
	}
	if n := len(m.status().Attachments); n != 2 {
		t.Errorf("%d attachments are known, want 2", n)
	}
}

// TestAKilledServiceRestarts waits until ages have been saved, which happens every ten seconds.
func TestAKilledServiceRestarts(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	p := m.start(hold)
	nstest.Eventually(t, testnode.Patience, "the leak has an age", func() bool { return m.age(p.Leak) > 3*time.Second })
	nstest.Eventually(t, testnode.Patience, "ages have been saved", func() bool {
		_, err := os.Stat(m.node().Store.CandidatesPath())
		return err == nil
	})
	pid := m.mainPID()
	for i, signal := range []string{"KILL", "TERM"} { // TERM from a process other than systemd
		before := m.knownAge(p.Leak)
		m.run("kill", "-s", signal, strconv.Itoa(pid))
		pid = m.active(pid)
		if now := m.knownAge(p.Leak); now < before {
			t.Errorf("after SIG%s: the leak was %v old before, and is %v now", signal, before, now)
		}
		if n := m.property("NRestarts"); n != strconv.Itoa(i+1) {
			t.Errorf("after SIG%s: %s restarts", signal, n)
		}
	}
}

func TestTheWatchdogRestartsAReaperThatHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.configure("WatchdogSec=2s")
	m.boot()
	m.run("systemctl", "start", "halfclose")
	pid := m.mainPID()
	first := m.property("WatchdogTimestampMonotonic")
	nstest.Eventually(t, testnode.Patience, "the service has sent watchdog pings for longer than WatchdogSec", func() bool {
		return microseconds(t, m.property("WatchdogTimestampMonotonic"))-microseconds(t, first) > 3*time.Second
	})
	if now := m.mainPID(); now != pid || m.property("NRestarts") != "0" {
		t.Fatalf("it was restarted although it sent watchdog pings")
	}
	m.run("kill", "-s", "STOP", strconv.Itoa(pid))
	m.active(pid)
	if n := m.property("NRestarts"); n != "1" {
		t.Errorf("%s restarts, want 1", n)
	}
	m.logged("halfclose.service: Watchdog timeout")
	m.logged("SIGABRT: abort", "-p", "err") // and the stack of each goroutine
}

func microseconds(t *testing.T, text string) time.Duration {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Microsecond
}

func TestAMistakeInTheEnvironmentFileIsLoggedAndItsCorrectionStartsTheService(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("etc/default/halfclose", "HALFCLOSE_MODE=dismay\n")
	m.configure("RestartSec=100ms")
	m.boot()
	if out, code := m.try("systemctl", "start", "halfclose"); code == 0 {
		t.Fatalf("the service starts: %s", out)
	}
	m.logged(`halfclose: HALFCLOSE_MODE="dismay": `, "-p", "err")
	nstest.Eventually(t, testnode.Patience, "systemd retries more often than its default limit of starts", func() bool {
		n, err := strconv.Atoi(m.property("NRestarts"))
		return err == nil && n > 10
	})
	if err := os.WriteFile(m.at("/etc/default/halfclose"), []byte("HALFCLOSE_MODE=observe\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.active(0) // on its own
	if mode := m.status().Mode; mode.Reaper != policy.Observe {
		t.Errorf("the mode is %+v", mode)
	}
}

func TestTheKubeletStartsThoughTheServiceNeverBecomesReady(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.configure("ExecStart=", "ExecStart=/bin/sleep 1000", "TimeoutStartSec=1s")
	m.write("etc/systemd/system/kubelet.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
	for _, unit := range []string{"halfclose.service", "kubelet.service"} {
		wants := filepath.Join(m.root, "etc/systemd/system/multi-user.target.wants", unit)
		if err := os.MkdirAll(filepath.Dir(wants), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/systemd/system/"+unit, wants); err != nil {
			t.Fatal(err)
		}
	}
	m.boot() // boot completes
	if out, code := m.try("systemctl", "is-active", "kubelet", "multi-user.target"); code != 0 {
		t.Errorf("kubelet and multi-user.target are: %s", out)
	}
	if got := m.property("Before"); !strings.Contains(got, "kubelet.service") {
		t.Errorf("kubelet was not ordered after it: Before=%s", got)
	}
}

func TestAReaperThatThePluginStartedHandsOverToTheService(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	p := m.start(`, "reaper": "auto", "mode": "observe", "grace": "4s"`)
	nstest.Eventually(t, testnode.Patience, "the leak has an age", func() bool { return m.age(p.Leak) > 3*time.Second })
	before, auto := m.age(p.Leak), m.status().Holder
	if auto.StartedBy != api.ByPlugin {
		t.Fatalf("the reaper was started by %q", auto.StartedBy)
	}
	m.run("systemctl", "start", "halfclose")
	if h := m.status().Holder; h.PID != m.mainPID() || h.StartedBy != api.BySystemd {
		t.Errorf("the reaper is %v now", h)
	}
	if now := m.knownAge(p.Leak); now < before {
		t.Errorf("the leak was %v old before, and is %v now", before, now)
	}
}

func TestTheServiceSurvivesTheLossOfItsStateDirectory(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	m.add("before", hold)
	pid := m.mainPID()
	nstest.Eventually(t, testnode.Patience, "the directory is removed, although the reaper writes to it", func() bool {
		return exec.Command("rm", "-rf", m.at(runtimeDir)).Run() == nil
	})
	m.active(pid)
	m.add("after", hold)
	nstest.Eventually(t, testnode.Patience, "the reaper knows the attachment that was recorded later", func() bool {
		s, err := m.node().Client.Status(t.Context())
		return err == nil && len(s.Attachments) == 1 && s.Attachments[0].ContainerID == "after"
	})
}
