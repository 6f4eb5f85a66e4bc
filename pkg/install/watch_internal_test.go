// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
)

// watching is a Watch that runs until the test ends.
type watching struct {
	mu     sync.Mutex
	events []Event
	stop   func()
}

func (n node) watch(t testing.TB, times watchTimes, b backoff) *watching {
	t.Helper()
	w := &watching{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	run := watch{config: n.config, times: times, backoff: b, report: func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	go func() { done <- run.run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// take removes and returns the first event of a kind, with all events before it.
func (w *watching) take(kind Kind) (Event, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.events {
		if e.Kind == kind {
			w.events = w.events[i+1:]
			return e, true
		}
	}
	return Event{}, false
}

func (w *watching) wait(t testing.TB, kind Kind) Event {
	t.Helper()
	var e Event
	nstest.Eventually(t, 20*time.Second, fmt.Sprintf("an event of kind %d", kind), func() bool {
		var ok bool
		e, ok = w.take(kind)
		return ok
	})
	return e
}

func (w *watching) kinds() (kinds []Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func TestWatchRestoresTheEntry(t *testing.T) {
	n := newNode(t, nil)
	w := n.watch(t, defaultTimes(), newBackoff())
	if e := w.wait(t, Waiting); !errors.Is(e.Err, ErrNoNetwork) {
		t.Errorf("it waits because of %v", e.Err)
	}
	write(t, n.path("10-pods.conflist"), bridgeList)
	if e := w.wait(t, Installed); e.Result.Network != "pods" {
		t.Errorf("got %+v", e)
	}
	renameTo(t, n.path("10-pods.conflist"), foreignList)
	w.wait(t, Restored)
	n.checkForeign(t, foreignList)

	// A network that sorts before it is extended too. The other keeps its entry.
	renameTo(t, n.path("05-other.conflist"), otherList)
	w.wait(t, Restored)
	if network, plugins := n.chosen(t); network != "other" || !cmp.Equal([]string{"bridge", "tuning", "halfclose"}, plugins) {
		t.Errorf("containerd loads %s with %v", network, plugins)
	}
	if plugins := n.named(t, "pods"); !cmp.Equal([]string{"bridge", "portmap", "halfclose"}, plugins) {
		t.Errorf("libcni loads %v", plugins)
	}

	if err := os.Remove(filepath.Join(n.config.BinDir, spec.PluginType)); err != nil {
		t.Fatal(err)
	}
	if e := w.wait(t, Restored); !e.Result.Plugin.Changed || !n.isInstalled(t) {
		t.Errorf("got %+v", e)
	}
	if err := os.Remove(filepath.Join(n.config.BinDir, launch.ReaperName)); err != nil {
		t.Fatal(err)
	}
	if e := w.wait(t, Restored); !e.Result.Reaper.Changed || e.Result.Plugin.Changed || n.link(t) != n.config.Command {
		t.Errorf("got %+v", e)
	}
	w.stop()
	if kinds := w.kinds(); len(kinds) > 0 {
		t.Errorf("it reports more: %v", kinds)
	}
}

func TestWatchKeepsAPluginThatAnotherInstallHasReplaced(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	w := n.watch(t, defaultTimes(), newBackoff())
	w.wait(t, Installed)
	other := n
	other.config.Plugin = filepath.Join(t.TempDir(), "newer")
	write(t, other.config.Plugin, "a newer program")
	other.install(t)
	renameTo(t, n.path("10-pods.conflist"), foreignList) // which causes a check
	w.wait(t, Restored)
	if data, err := os.ReadFile(filepath.Join(n.config.BinDir, spec.PluginType)); err != nil || string(data) != "a newer program" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestWatchFollowsADirectoryThatIsReplaced(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	times := defaultTimes()
	times.poll = 20 * time.Millisecond
	w := n.watch(t, times, newBackoff())
	w.wait(t, Installed)
	if err := os.RemoveAll(n.config.ConfDir); err != nil {
		t.Fatal(err)
	}
	w.wait(t, Waiting)
	write(t, n.path("20-other.conflist"), otherList)
	w.wait(t, Restored)
	renameTo(t, n.path("20-other.conflist"), foreignList)
	w.wait(t, Restored)
	n.checkFile(t, "20-other.conflist", foreignList)
}

// TestWatchExitsIfItsMountedDirectoryIsDeletedOnTheNode is about a container, where the mount of a deleted directory stays. A
// restarted container mounts the new one.
func TestWatchExitsIfItsMountedDirectoryIsDeletedOnTheNode(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	inside := filepath.Join(t.TempDir(), "net.d")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(n.config.ConfDir, inside, "", unix.MS_BIND, ""); err != nil {
		nstest.NeedPrivilege(t, "mount a directory", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(inside, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	outside := n.config.ConfDir
	n.config.ConfDir = inside
	result := make(chan error, 1)
	installed := make(chan struct{}, 1)
	go func() {
		result <- Watch(t.Context(), n.config, func(e Event) {
			if e.Kind == Installed {
				installed <- struct{}{}
			}
		})
	}()
	<-installed
	if err := errors.Join(os.RemoveAll(outside), os.Mkdir(outside, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, hostfs.ErrDeleted) {
		t.Errorf("it returns %v", err)
	}
}

func TestWatchDoesNotTouchAPartlyWrittenFile(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	times := defaultTimes()
	times.busy = 20 * time.Millisecond
	w := n.watch(t, times, newBackoff())
	w.wait(t, Installed)
	f, err := os.Create(n.path("10-pods.conflist"))
	put(t, f, err, foreignList[:20])
	if sleep(t.Context(), 300*time.Millisecond); string(n.read(t)) != foreignList[:20] {
		t.Errorf("it was touched: %q", n.read(t))
	}
	put(t, f, nil, foreignList[20:])
	f.Close()
	w.wait(t, Restored)
	n.checkForeign(t, foreignList)
}

func (n node) read(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(n.path("10-pods.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWatchBacksOff(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	times := watchTimes{debounce: time.Millisecond, recheck: 20 * time.Millisecond, poll: time.Second, busy: time.Millisecond}
	w := n.watch(t, times, backoff{initial: 10 * time.Millisecond, maximum: 200 * time.Millisecond, reset: 500 * time.Millisecond})
	w.wait(t, Installed)

	// For two seconds another tool removes the entry whenever it is present.
	removed := 0
	began := time.Now()
	for time.Since(began) < 2*time.Second {
		if strings.Contains(string(n.read(t)), "halfclose") {
			renameTo(t, n.path("10-pods.conflist"), bridgeList)
			removed++
		}
		sleep(t.Context(), time.Millisecond)
	}
	w.wait(t, Contested)
	// 0, 10, 20, 40, 80, 160 ms and then every 200 ms, at most.
	if removed < 6 || removed > 18 {
		t.Errorf("it was removed %d times in two seconds", removed)
	}
	w.wait(t, Uncontested)
	n.checkForeign(t, bridgeList)
	if _, plugins := n.chosen(t); count(plugins) != 1 {
		t.Errorf("containerd finally loads %v", plugins)
	}
	w.stop()
	for _, kind := range w.kinds() {
		if kind == Contested {
			t.Error("it was reported as contested more than once")
		}
	}
}

func TestTwoWatchesWithDifferentEntriesBackOff(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	other := n
	other.config.Entry = entry(t, `{"mode": "off"}`)
	times := watchTimes{debounce: time.Millisecond, recheck: 5 * time.Millisecond, poll: time.Second, busy: time.Millisecond}
	p := backoff{initial: 10 * time.Millisecond, maximum: 200 * time.Millisecond, reset: time.Hour}
	both := []*watching{n.watch(t, times, p), other.watch(t, times, p)}
	sleep(t.Context(), 1500*time.Millisecond)
	for _, w := range both {
		w.stop()
		reported := map[Kind]int{}
		for _, kind := range w.kinds() {
			reported[kind]++
		}
		if reported[Installed] != 1 || reported[Contested] != 1 || reported[Restored] < 3 || reported[Restored] > 15 {
			t.Errorf("it reported %v of each kind", reported)
		}
	}
	n.checkForeign(t, bridgeList)
	if _, plugins := n.chosen(t); count(plugins) != 1 {
		t.Errorf("containerd finally loads %v", plugins)
	}
}

func TestWatchWritesNothingIfTheEntryIsPresent(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	times := watchTimes{debounce: time.Millisecond, recheck: time.Millisecond, poll: time.Millisecond, busy: time.Millisecond}
	w := n.watch(t, times, newBackoff())
	w.wait(t, Installed)
	// Another tool writes the same content with another order of keys.
	const reordered = `{"plugins":[{"type":"bridge"},{"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true},"mode":"observe"}],"name":"pods","cniVersion":"1.0.0"}`
	renameTo(t, n.path("10-pods.conflist"), reordered)
	before := stat(t, n.path("10-pods.conflist"))
	dir := stat(t, n.config.ConfDir)
	sleep(t.Context(), 300*time.Millisecond)
	w.stop()
	after := stat(t, n.path("10-pods.conflist"))
	if kinds := w.kinds(); len(kinds) > 0 || after.Ino != before.Ino || after.Mtim != before.Mtim || stat(t, n.config.ConfDir).Mtim != dir.Mtim {
		t.Errorf("it was written: events %v, %s", kinds, n.read(t))
	}
}

func TestWatchReportsAnErrorOnce(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": strings.Replace(bridgeList, "1.0.0", "0.1.0", 1)})
	times := watchTimes{debounce: time.Millisecond, recheck: 5 * time.Millisecond, poll: time.Millisecond, busy: time.Millisecond}
	w := n.watch(t, times, newBackoff())
	if e := w.wait(t, Failed); e.Err == nil || !strings.Contains(e.Err.Error(), "cniVersion") {
		t.Errorf("got %+v", e)
	}
	sleep(t.Context(), 100*time.Millisecond)
	if kinds := w.kinds(); len(kinds) > 0 {
		t.Errorf("it was reported again: %v", kinds)
	}
	renameTo(t, n.path("10-pods.conflist"), bridgeList)
	w.wait(t, Installed)
}
