// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// outcomes counts the entries of the reaper's history by outcome.
func (w *world) outcomes() map[string]int {
	counts := make(map[string]int)
	entries, _ := w.Entries() // none if no reaper is running
	for _, en := range entries {
		counts[en.Outcome]++
	}
	return counts
}

// onlyObserves waits until the reaper has found sockets that it would destroy, and checks that it has destroyed none.
func (w *world) onlyObserves(t *testing.T, when string) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, when+": sockets are found past their grace", func() bool { return w.outcomes()[api.WouldDestroy] > 20 })
	m := w.AwaitStatus().Mode
	if m.Effective != policy.Observe || m.Switch == nil || m.Switch.Mode != policy.Observe {
		t.Fatalf("%s: the mode is %+v", when, m)
	}
	entries, err := w.Entries() // the history survives a restart
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, en := range entries {
		if en.Outcome == api.Destroyed && en.Time.After(m.Switch.When.Add(2*time.Second)) { // which has whole seconds
			n++
		}
	}
	if n > 0 {
		t.Errorf("%s: %d sockets were destroyed", when, n)
	}
}

// storm opens n connections in a container and half-closes all of them.
func storm(t *testing.T, c *container, n int) {
	t.Helper()
	for range n {
		if err := c.Connect(t, nstest.IPv4).Client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
}

// The test uses the directories of a real node, so that a reboot can clear one and keep the other. It does not run in
// parallel with others that use them.
func TestTheSwitchStopsDestructionWithinASecondUntilItIsSetAgain(t *testing.T) {
	t.Cleanup(func() { // runs last: other tests use these directories too
		if err := errors.Join(os.RemoveAll(state.DefaultDir), os.RemoveAll("/var/lib/halfclose")); err != nil {
			t.Error(err)
		}
	})
	w := newWorldAt(t, state.DefaultDir, nil)
	c := newContainer(t, nil)
	open := c.Connect(t, nstest.IPv4)
	const leaks = 600 // of two sockets each; destroying one closes both
	storm(t, c, leaks)
	grace := `, "grace": "1s", "mode": "destroy"`
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+grace))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	first := w.start(t, "--max-destroys-per-second", "20", "--log-level", "warn") // takes 30 s
	nstest.Eventually(t, testnode.Patience, "sockets are being destroyed", func() bool { return w.outcomes()[api.Destroyed] > 50 })

	r := w.run(t, "mode", "observe")
	returned := time.Now()
	if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "Mode      observe\n") || !strings.Contains(r.stdout, "/var/lib/halfclose/mode") {
		t.Errorf("mode observe: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	nstest.Eventually(t, testnode.Patience, "sockets pass their grace for three more seconds", func() bool {
		return time.Since(returned) > 3*time.Second && w.outcomes()[api.WouldDestroy] > 100
	})
	var last time.Time
	entries, err := w.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, en := range entries {
		if en.Outcome == api.Destroyed && en.Time.After(last) {
			last = en.Time
		}
	}
	destroyed := w.outcomes()[api.Destroyed]
	t.Logf("%d sockets were destroyed, the last %v after the command returned", destroyed, last.Sub(returned))
	if last.After(returned.Add(time.Second)) {
		t.Errorf("a socket was destroyed %v after the command returned", last.Sub(returned))
	}
	if destroyed > leaks-100 {
		t.Fatalf("%d of %d connections were destroyed before: the test proves nothing", destroyed, leaks)
	}

	// A crash, and a reboot that clears /run. Then the first pod starts a reaper, with a conflist that is newer than the
	// switch.
	first.Kill()
	if err := os.RemoveAll(state.DefaultDir); err != nil {
		t.Fatal(err)
	}
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(grace))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	w.onlyObserves(t, "with the plugin's reaper")
	if by := w.AwaitStatus().Holder.StartedBy; by != api.ByPlugin {
		t.Errorf("the reaper was started by %q", by)
	}
	// Another reaper, whose flags permit destruction.
	second := w.start(t, "--mode", "destroy", "--min-grace", "1ms", "--max-destroys-per-second", "0", "--log-level", "warn")
	w.holds(t, second.PID())
	w.onlyObserves(t, "with other flags")

	if r := w.run(t, "mode", "destroy"); r.code != 0 || !strings.HasPrefix(r.stdout, "Mode      destroy\n") {
		t.Errorf("mode destroy: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	nstest.Eventually(t, testnode.Patience, "the sockets past their grace are destroyed", func() bool {
		return destroyed+w.outcomes()[api.Destroyed] >= leaks
	})
	if _, err := open.Client.Write([]byte("x")); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
	if err := readByte(open.Server); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
	second.Stop()
}

func TestTheSwitchOutlivesAReaperThatIsKilledAsSoonAsItIsSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "1s"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	p := w.start(t)
	w.holds(t, p.PID())
	r := w.run(t, "mode", "observe")
	p.Kill()
	storm(t, c, 30)
	if r.code != 0 || !strings.Contains(r.stdout, filepath.Join(w.dir, "mode")) {
		t.Errorf("mode observe: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	w.start(t)
	w.onlyObserves(t, "after the crash")
}

// TestTheSwitchIsSetThoughTheReaperIsStuck stops the reaper with SIGSTOP, sets the switch, and continues the reaper: it
// keeps the sockets whose grace expired in that time.
func TestTheSwitchIsSetThoughTheReaperIsStuck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "8s"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	p := w.start(t)
	w.holds(t, p.PID())
	storm(t, c, 30)
	past := time.After(8 * time.Second)
	resume := nstest.Suspend(t, p.PID())
	r := w.run(t, "mode", "observe")
	if r.code != 1 || !strings.Contains(r.stderr, "halfclose: the switch is set to observe") || !strings.Contains(r.stderr, "does not answer") {
		t.Errorf("mode observe: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	<-past
	resume()
	w.onlyObserves(t, "when it runs again")
}

func TestTheSwitchCanBeSetBeforeThereIsAReaper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	storm(t, c, 30)
	r := w.run(t, "mode", "observe")
	if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "Mode      no reaper is running") {
		t.Errorf("mode observe: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(`, "grace": "1s"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	w.onlyObserves(t, "with the first reaper")
}

func TestModeNamesWhatCapsItAndWhichPodsAreMoreConservative(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{"halfclose.cni/mode": "observe"})
	w.add(t, network(t), c)
	w.AwaitStatus()
	r := w.run(t, "mode", "destroy")
	if r.code != 0 || r.stderr != "" || !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), "1 attachment is more conservative by its own policy: e2e/"+c.name+" eth0 (observe)") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	capped := w.start(t, "--mode", "observe")
	w.holds(t, capped.PID())
	r = w.run(t, "mode", "destroy")
	want := "halfclose: the switch is set to destroy, but the mode is observe because of the reaper's --mode observe (start it with --mode destroy)\n"
	if r.code != 1 || r.stderr != want || !strings.HasPrefix(r.stdout, "Mode      observe\n") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.run(t, "mode", "observe"); r.code != 0 {
		t.Errorf("observe, which it is: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	capped.Stop()
}
