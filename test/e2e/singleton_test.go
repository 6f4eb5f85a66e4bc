// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestOfTenReapersOneWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*process
	for range 10 {
		all = append(all, w.start(t))
	}
	left := func() (running []*process) {
		for _, p := range all {
			if p.running() {
				running = append(running, p)
			}
		}
		return running
	}
	nstest.Eventually(t, soon, "nine have ended", func() bool { return len(left()) == 1 })
	winner := left()[0]
	w.holds(t, winner.pid())
	want := fmt.Sprintf("halfclose: another reaper works on this state directory: process %d, started by a command at ", winner.pid())
	for _, p := range all {
		if p == winner {
			continue
		}
		if code := p.wait(t); code != 1 || !strings.HasPrefix(p.log(), want) || strings.Count(p.log(), "\n") != 1 {
			t.Errorf("exit code %d, and it says:\n%swant 1, and one line that begins with\n%s", code, p.log(), want)
		}
	}
	winner.stop(t)
}

func TestAnAutoStartedReaperHandsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{"halfclose.cni/mode": "observe", "halfclose.cni/grace": "4s"})
	w.add(t, network(t), c)
	auto := w.status(t).Holder
	if auto.StartedBy != api.ByPlugin {
		t.Fatalf("the reaper was started by %q", auto.StartedBy)
	}
	leak := leak(t, c)
	nstest.Eventually(t, soon, "the leak is known", func() bool { return w.age(t, leak) > time.Second })
	before, at := w.age(t, leak), time.Now()

	byHand := w.start(t)
	w.holds(t, byHand.pid())
	t.Logf("handed over within %v of the start of the second", time.Since(at))
	waitGone(t, auto.PID)
	nstest.Eventually(t, soon, "the leak is known again", func() bool { return w.age(t, leak) > 0 })
	if now := w.age(t, leak); now < before {
		t.Errorf("the leak was %v old before, and is %v now", before, now)
	}
	// Nothing that ADD starts takes it away again.
	w.add(t, network(t), newContainer(t, nil))
	if r := w.run(t, "reaper", "--auto"); r.code != 1 {
		t.Errorf("a reaper that says it was started by the plugin has exit code %d", r.code)
	}
	if h := w.status(t).Holder; h.PID != byHand.pid() || h.StartedBy != api.ByCommand {
		t.Errorf("the reaper is %v now", h)
	}
	byHand.stop(t)
}

func TestAReaperStartedByHandIsNotDisplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start(t)
	w.holds(t, first.pid())
	second := w.start(t)
	if code := second.wait(t); code != 1 || !strings.Contains(second.log(), fmt.Sprintf("process %d,", first.pid())) {
		t.Errorf("the second has exit code %d and says %s", code, second.log())
	}
	w.holds(t, first.pid())
	first.stop(t)
}

func TestWithWaitAReaperTakesOverWhenTheFirstEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(*process, *testing.T)
	}{
		{"cleanly", (*process).stop},
		{"by a crash", (*process).kill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := w.start(t)
			w.holds(t, first.pid())
			second := w.start(t, "--wait")
			nstest.Eventually(t, soon, "the second says that it waits", func() bool {
				return strings.Contains(second.log(), fmt.Sprintf("process %d,", first.pid()))
			})
			w.holds(t, first.pid())
			tt.end(first, t)
			w.holds(t, second.pid())
			second.stop(t)
		})
	}
}

func TestAReaperEndsWhenItsLockIsNoLongerTheLock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(*world) error
	}{
		{"the state directory is wiped", func(w *world) error { return os.RemoveAll(w.dir) }},
		{"the lock's file is removed", func(w *world) error { return os.Remove(w.store.LockPath()) }},
		{"the lock's file is replaced", func(w *world) error {
			other := filepath.Join(w.dir, "other")
			if err := os.WriteFile(other, nil, 0o600); err != nil {
				return err
			}
			return os.Rename(other, w.store.LockPath())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.start(t)
			w.holds(t, p.pid())
			if err := tt.do(w); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(t); code != 1 || !strings.Contains(p.log(), "halfclose: the reaper's lock ") {
				t.Errorf("exit code %d, and it says:\n%s", code, p.log())
			}
		})
	}
}

func TestSIGTERMEndsTheReaperCleanly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.pid())
	p.stop(t) // which wants exit code 0
	if _, err := os.Stat(w.store.SocketPath()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if h := w.holder(t); h.PID != 0 {
		t.Errorf("the lock still names %v", h)
	}
}

// setSwitch sets the mode switch that goes with the state directory.
func setSwitch(t *testing.T, w *world, mode policy.Mode) {
	t.Helper()
	err := state.StoreSwitch(filepath.Join(w.dir, "mode"), state.Switch{Mode: mode, Who: "a test", When: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
}

func eventuallyMode(t *testing.T, w *world, mode policy.Mode) {
	t.Helper()
	nstest.Eventually(t, soon, "the mode is "+mode.String(), func() bool {
		s := w.status(t)
		return s.Mode.Effective == mode && s.Attachments[0].Mode == mode
	})
}
