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

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
)

// leaking returns a world with a container of grace 1s and more configuration.
func leaking(t *testing.T, conf string) (*world, *container) {
	t.Helper()
	w, c := newWorld(t), newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "1s"`+conf))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	return w, c
}

func TestTheHistorySurvivesAnUpgradeOfTheReaper(t *testing.T) {
	t.Parallel()
	w, c := leaking(t, "")
	first := w.start(t)
	w.holds(t, first.PID())
	for range 15 {
		leak(t, c)
	}
	w.AwaitEntries("15 are destroyed", func(list []api.Entry) bool { return len(list) == 15 })
	w.StopReaper()

	check := func(when string) {
		r := w.run(t, "history", "--since", "1h", "--outcome", "destroyed", "-o", "wide", "--no-headers")
		if r.code != 0 || strings.Count(r.stdout, "\n") != 15 || strings.Count(r.stdout, "e2e.test[") != 15 {
			t.Errorf("%s: exit code %d, %s, %d entries:\n%s", when, r.code, r.stderr, strings.Count(r.stdout, "\n"), r.stdout)
		}
	}
	check("without a reaper")
	w.holds(t, w.start(t).PID())
	check("with the next reaper")
	peer := strings.Fields(w.run(t, "history", "--tail", "1", "-o", "wide", "--no-headers").stdout)[5]
	if r := w.run(t, "history", peer); r.code != 0 || !strings.Contains(r.stderr, "yes: of the connections of "+peer+", halfclose destroyed one") {
		t.Errorf("of %s: exit code %d, %s", peer, r.code, r.stderr)
	}
	if r := w.run(t, "history", "192.0.2.1:1"); r.code != 1 || !strings.Contains(r.stderr, "no: the history since") {
		t.Errorf("of an unknown address: exit code %d, %s", r.code, r.stderr)
	}
}

func TestAWouldDestroyIsListedOnceAfterKills(t *testing.T) {
	t.Parallel()
	w, c := leaking(t, `, "mode": "observe"`)
	conn := testnode.ConnOf(leak(t, c))
	for range 3 {
		p := w.start(t)
		w.holds(t, p.PID())
		w.AwaitEntry(conn, api.WouldDestroy)
		p.Kill()
		testnode.AwaitExit(t, p.PID())
	}
	w.holds(t, w.start(t).PID())
	w.AwaitEntry(conn, api.WouldDestroy)
	list, err := w.Entries()
	count := 0
	for _, e := range list {
		if e.Local == conn.Local && e.Peer == conn.Peer { // the other end is half-closed too
			count++
		}
	}
	if err != nil || count != 1 {
		t.Errorf("after three kills the history has %+v, %v", list, err)
	}
}

// TestSocketsAreDestroyedWhileTheHistoryCannotBeWritten fills the disk of the history.
func TestSocketsAreDestroyedWhileTheHistoryCannotBeWritten(t *testing.T) {
	t.Parallel()
	w, c := leaking(t, "")
	dir := history.Dir(w.Store.Dir())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	w.holds(t, w.start(t).PID())
	leak(t, c)
	w.AwaitEntries("an end is destroyed, and the other with it", func(list []api.Entry) bool { return len(list) == 1 && list[0].Outcome == api.Destroyed })
	var view *api.HistoryStoreView
	nstest.Eventually(t, testnode.Patience, "the full disk is reported", func() bool {
		view = w.AwaitStatus().History
		return view != nil && strings.Contains(view.Problem, "no space left on device")
	})
	if view.Waiting != 1 || view.Lost != 0 {
		t.Errorf("%d entries wait, %d are lost", view.Waiting, view.Lost)
	}
	if r := w.run(t, "status"); r.code != 0 || !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), "the history has gaps") {
		t.Errorf("status does not report it: %s%s", r.stdout, r.stderr)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, testnode.Patience, "the entry is written", func() bool {
		view = w.AwaitStatus().History
		return view.Problem == "" && view.Written == 1
	})
	began := time.Now()
	w.StopReaper()
	if r := w.run(t, "history", "--tail", "5", "-o", "wide", "--no-headers"); r.code != 0 || strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("%v later the history is %s%s", time.Since(began), r.stdout, r.stderr)
	}
}
