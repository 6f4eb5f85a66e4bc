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
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestOfTenReapersOneGetsTheLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*testnode.Process
	for range 10 {
		all = append(all, w.start(t))
	}
	left := func() (running []*testnode.Process) {
		for _, p := range all {
			if p.Running() {
				running = append(running, p)
			}
		}
		return running
	}
	nstest.Eventually(t, testnode.Patience, "nine have exited", func() bool { return len(left()) == 1 })
	winner := left()[0]
	w.holds(t, winner.PID())
	want := fmt.Sprintf("halfclose: another reaper uses this state directory: process %d, started by a command at ", winner.PID())
	for _, p := range all {
		if p == winner {
			continue
		}
		if code := p.Wait(); code != 1 || !strings.HasPrefix(p.Output(), want) || strings.Count(p.Output(), "\n") != 1 {
			t.Errorf("exit code %d, and its output is:\n%swant 1, and one line that begins with\n%s", code, p.Output(), want)
		}
	}
	winner.Stop()
}

func TestAnAutoStartedReaperHandsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{"halfclose.cni/mode": "observe", "halfclose.cni/grace": "4s"})
	w.add(t, network(t), c)
	auto := w.AwaitStatus().Holder
	if auto.StartedBy != api.ByPlugin {
		t.Fatalf("the reaper was started by %q", auto.StartedBy)
	}
	leak := leak(t, c)
	nstest.Eventually(t, testnode.Patience, "the leak is known", func() bool { return w.age(leak) > time.Second })
	before, at := w.age(leak), time.Now()

	byHand := w.start(t)
	w.holds(t, byHand.PID())
	t.Logf("handed over within %v of the start of the second", time.Since(at))
	testnode.AwaitExit(t, auto.PID)
	nstest.Eventually(t, testnode.Patience, "the leak is known again", func() bool { return w.age(leak) > 0 })
	if now := w.age(leak); now < before {
		t.Errorf("the leak was %v old before, and is %v now", before, now)
	}
	// A reaper that ADD starts does not take the lock from it.
	w.add(t, network(t), newContainer(t, nil))
	if r := w.run(t, "reaper", "--auto"); r.code != 1 {
		t.Errorf("a second reaper with --auto has exit code %d", r.code)
	}
	if h := w.AwaitStatus().Holder; h.PID != byHand.PID() || h.StartedBy != api.ByCommand {
		t.Errorf("the reaper is %v now", h)
	}
	byHand.Stop()
}

func TestAReaperStartedByHandIsNotDisplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start(t)
	w.holds(t, first.PID())
	second := w.start(t)
	if code := second.Wait(); code != 1 || !strings.Contains(second.Output(), fmt.Sprintf("process %d,", first.PID())) {
		t.Errorf("the second has exit code %d and prints %s", code, second.Output())
	}
	w.holds(t, first.PID())
	first.Stop()
}

func TestWithWaitAReaperTakesOverWhenTheFirstExits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(*testnode.Process)
	}{
		{"cleanly", (*testnode.Process).Stop},
		{"by a crash", (*testnode.Process).Kill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := w.start(t)
			w.holds(t, first.PID())
			second := w.start(t, "--wait")
			nstest.Eventually(t, testnode.Patience, "the second logs that it waits", func() bool {
				return strings.Contains(second.Output(), fmt.Sprintf("process %d,", first.PID()))
			})
			w.holds(t, first.PID())
			tt.end(first)
			w.holds(t, second.PID())
			second.Stop()
		})
	}
}

func TestAReaperExitsWhenItsLockFileIsRemovedOrReplaced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(*world) error
	}{
		{"the state directory is wiped", func(w *world) error { return os.RemoveAll(w.dir) }},
		{"the lock's file is removed", func(w *world) error { return os.Remove(w.Store.LockPath()) }},
		{"the lock's file is replaced", func(w *world) error {
			other := filepath.Join(w.dir, "other")
			if err := os.WriteFile(other, nil, 0o600); err != nil {
				return err
			}
			return os.Rename(other, w.Store.LockPath())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.start(t)
			w.holds(t, p.PID())
			if err := tt.do(w); err != nil {
				t.Fatal(err)
			}
			if code := p.Wait(); code != 1 || !strings.Contains(p.Output(), "halfclose: reaper lock ") {
				t.Errorf("exit code %d, and its output is:\n%s", code, p.Output())
			}
		})
	}
}

func TestSIGTERMStopsTheReaperCleanly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	p.Stop() // and requires exit code 0
	if _, err := os.Stat(w.Store.SocketPath()); !os.IsNotExist(err) {
		t.Errorf("the socket still exists: %v", err)
	}
	if h := w.holder(t); h.PID != 0 {
		t.Errorf("the lock file still has the holder %v", h)
	}
}

// setSwitch sets the mode switch of the state directory.
func setSwitch(t *testing.T, w *world, mode policy.Mode) {
	t.Helper()
	err := state.StoreSwitch(filepath.Join(w.dir, "mode"), state.Switch{Mode: mode, Who: "a test", When: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
}

func eventuallyMode(t *testing.T, w *world, mode policy.Mode) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the mode is "+mode.String(), func() bool {
		s := w.AwaitStatus()
		return s.Mode.Effective == mode && s.Attachments[0].Mode == mode
	})
}
