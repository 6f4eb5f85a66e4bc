// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

const (
	testBoot  = "6ca07e8a-4d30-4a5c-9b3e-a3f2d8f0c001"
	otherBoot = "00000000-0000-0000-0000-000000000000"
)

// patience bounds a wait for an event that must happen, even on a busy machine.
const patience = 2 * time.Minute

// moment is the time that long after the start of a test, which is long after boot.
func moment(d time.Duration) monotime.Time { return monotime.Time(24 * time.Hour).Add(d) }

// layersOf returns layers that resolve to the policy.
func layersOf(p policy.Policy) policy.Layers {
	return policy.Layers{Network: p.Layer(policy.SourceNetwork)}
}

// warnings counts problems by kind.
type warnings struct {
	mu     sync.Mutex
	counts map[string]int
	texts  []string
}

func (w *warnings) Warn(kind, text string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind]++
	w.texts = append(w.texts, fmt.Sprint(append([]any{text}, args...)...))
}

func (w *warnings) Fail(kind, text string, args ...any) { w.Warn(kind, text, args...) }

// newTestWatcher creates a watcher of the test's own directory.
func newTestWatcher(t testing.TB) *Watcher {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	notify := dirwatch.NewInstance()
	t.Cleanup(func() { notify.Close() })
	return NewWatcher(Config{
		Notify: notify, Clock: monotime.Fake{}, Store: state.New(t.TempDir()), Root: root, Boot: testBoot,
		Log: slog.New(slog.DiscardHandler), Warnings: &warnings{counts: make(map[string]int)},
	})
}

// put records a namespace, by default a deleted one.
func put(t testing.TB, w *Watcher, id string, change ...func(*state.Record)) state.Record {
	t.Helper()
	r := state.Record{
		Network: "testnet", Attachment: state.Attachment{ContainerID: id, IfName: "eth0"}, Boot: testBoot, Layers: layersOf(policy.Default()),
		Netns: state.Netns{Path: filepath.Join(w.Store.Dir(), id), Identity: netns.Identity{Cookie: 1, Dev: 4, Inode: 1}}, Time: time.Now().Round(0),
	}
	for _, c := range change {
		c(&r)
	}
	if err := w.Store.Put(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// identify returns the identity of a namespace.
func identify(t testing.TB, ns *nstest.NS) netns.Identity {
	t.Helper()
	id, err := netns.Identify(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// counted is a census as a reader of its updates knows it.
type counted struct {
	Summary
	records  []state.Record // active ones, sorted as in a listing
	resolved map[string]policy.Resolved
}

// count takes a whole census, as the watcher does each half minute but with all paths.
func count(ctx context.Context, w *Watcher, at monotime.Time) (c counted) {
	w.turn(ctx, turn{all: true}, at)
	for range len(w.queue.names)/maxSlice + 1 {
		w.turn(ctx, turn{slice: true}, at)
	}
	u, _ := w.roll.update()
	c.Summary, c.resolved = u.Summary, make(map[string]policy.Resolved)
	for id := range w.roll.active.values {
		n := w.roll.namespace(id)
		for i, r := range n.Records {
			c.records = append(c.records, r)
			c.resolved[fileName(r)] = n.Resolved[i]
		}
	}
	slices.SortFunc(c.records, state.CompareRecords)
	return c
}

// fileName returns the file name of a record.
func fileName(r state.Record) string {
	name, _ := r.FileName() // no error: it was written under that name
	return name
}

func left(t *testing.T, w *Watcher) string {
	t.Helper()
	entries, err := os.ReadDir(w.Store.AttachmentsDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), "@")
		names = append(names, id)
	}
	return strings.Join(names, " ")
}

func TestWatcherPrunesFilesInertForTenMinutes(t *testing.T) {
	w := newTestWatcher(t)
	ns := nstest.New(t)
	in := func(r *state.Record) {
		r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)}
	}
	put(t, w, "gone")
	put(t, w, "rebooted", in, func(r *state.Record) { r.Boot = otherBoot })
	put(t, w, "elsewhere", in, func(r *state.Record) { r.Netns.Inode, r.Netns.Cookie = r.Netns.Inode+1, 1<<39 })
	put(t, w, "replaced")
	put(t, w, "used", in)
	half := func(name, content string) {
		if err := os.WriteFile(filepath.Join(w.Store.AttachmentsDir(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	half("half@eth0.json", `{"version": 1, "boot": "`)
	half("oldhalf@eth0.json", `{"boot": "`+otherBoot+`", "version": 1, "netns": {`)
	half("endedhalf@eth0:1-1.json", "")
	half("livehalf@eth0:"+state.KeyOf(identify(t, ns)).String()+".json", "")

	c := count(t.Context(), w, moment(0))
	if len(c.records) != 1 || c.records[0].ContainerID != "used" || len(c.Inert) != 4 || len(c.Problems) != 4 {
		t.Fatalf("%d records, %d inert, %d problems", len(c.records), len(c.Inert), len(c.Problems))
	}
	count(t.Context(), w, moment(pruneAfter-1))
	if got := left(t, w); got != "elsewhere endedhalf gone half livehalf oldhalf rebooted replaced used" {
		t.Errorf("too soon, what is left is %s", got)
	}
	// One is recorded again with an existing namespace for a while, which restarts the ten minutes.
	put(t, w, "replaced", in)
	count(t.Context(), w, moment(pruneAfter-1))
	put(t, w, "replaced")
	count(t.Context(), w, moment(pruneAfter))
	if got := left(t, w); got != "half livehalf rebooted replaced used" {
		t.Errorf("after ten minutes what is left is %s", got)
	}
	count(t.Context(), w, moment(2*pruneAfter))
	if got := left(t, w); got != "half livehalf rebooted used" { // a file with another boot ID may be damaged
		t.Errorf("after ten more what is left is %s", got)
	}
}

// TestUnreadableAndInertRecordsCapTheirNetnsAtObserve damages all files of one netns except one. That one registers the
// netns, and the others hold it at observe.
func TestUnreadableAndInertRecordsCapTheirNetnsAtObserve(t *testing.T) {
	w := newTestWatcher(t)
	ns, other := nstest.New(t), nstest.New(t)
	id, process := identify(t, ns), exec.Command("sleep", "1000")
	ns.Do(t, func() {
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { _ = process.Process.Kill() }) // it has exited already unless the test failed
	in := func(path string) func(*state.Record) {
		return func(r *state.Record) { r.Netns = state.Netns{Path: path, Identity: id} }
	}
	put(t, w, "process", in(fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid)))
	put(t, w, "rebooted", in(ns.Path()), func(r *state.Record) { r.Boot = otherBoot; r.Netns.Inode++ })
	put(t, w, "other", func(r *state.Record) { r.Netns = state.Netns{Path: other.Path(), Identity: identify(t, other)} })
	put(t, w, "used", in(ns.Path()))
	files := func() (names []string) {
		for _, h := range w.roll.holdsOn(id) {
			if h.Reason == "" {
				t.Errorf("%s: no reason", h.File)
			}
			name, _, _ := strings.Cut(h.File, "@")
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	if c := count(t.Context(), w, moment(0)); len(c.records) != 3 || len(files()) > 0 {
		t.Errorf("%d records, held by %q, want three and none", len(c.records), files())
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait() // killed
	key := ":" + state.KeyOf(id).String() + ".json"
	data, err := os.ReadFile(filepath.Join(w.Store.AttachmentsDir(), "used@eth0"+key))
	if err != nil {
		t.Fatal(err)
	}
	boot, err := netns.BootID()
	if err != nil {
		t.Fatal(err)
	}
	used := strings.Replace(string(data), testBoot, boot, 1)
	const anotherBoot = "0f" // with one digit more, or fewer, than the right one
	for name, content := range map[string]string{
		"boot@eth0":     strings.NewReplacer(`"used"`, `"boot"`, boot, anotherBoot+boot[2:]).Replace(used),
		"halfboot@eth0": strings.Replace(used[:len(used)/2], boot, anotherBoot+boot[2:], 1),
		"empty@eth0":    "", "half@eth0": used[:len(used)/2], "newer@eth0": `{"version": 99}`, "nul@eth0": strings.Repeat("\x00", 512),
		"alien@eth0": used, "word@eth0": strings.NewReplacer(`"used"`, `"word"`, `"destroy"`, `"annihilate"`).Replace(used),
	} {
		if err := os.WriteFile(filepath.Join(w.Store.AttachmentsDir(), name+key), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(w.Store.AttachmentsDir(), "dir@eth0"+key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("used@eth0"+key, filepath.Join(w.Store.AttachmentsDir(), "link@eth0"+key)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.Store.AttachmentsDir(), "no netns in it"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"alien", "boot", "dir", "empty", "half", "halfboot", "link", "newer", "nul", "process", "word"}
	for _, at := range []time.Duration{0, pruneAfter, 2 * pruneAfter} {
		c := count(t.Context(), w, moment(at))
		if len(c.records) != 2 || !slices.Equal(files(), want) {
			t.Errorf("after %v: %d records, held by %q, want two and %q", at, len(c.records), files(), want)
		}
		if held := w.roll.holdsOn(identify(t, other)); len(held) > 0 {
			t.Errorf("after %v the other netns is held by %+v", at, held)
		}
	}
}

func TestLayersAreResolvedOnlyWhenTheyChange(t *testing.T) {
	w := newTestWatcher(t)
	w.MinGrace = time.Minute
	ns := nstest.New(t)
	in := func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)} }
	annotated := func(grace string) func(*state.Record) {
		return func(r *state.Record) {
			in(r)
			r.Layers.PodOverrides = policy.OverridesAny
			r.Layers.Annotations = map[string]string{"halfclose.cni/grace": grace}
		}
	}
	put(t, w, "plain", in)
	put(t, w, "annotated", annotated("5m"))
	for i, tc := range []struct {
		change func()
		want   uint64 // resolutions
	}{
		{func() {}, 2},
		{func() {}, 0},
		{func() { put(t, w, "annotated", annotated("5m")) }, 0}, // the same again
		{func() { put(t, w, "annotated", annotated("6m")) }, 1},
		{func() { put(t, w, "more", in) }, 1},
		{func() { _ = w.Store.Delete(state.Attachment{ContainerID: "more", IfName: "eth0"}) }, 0},
		{func() { put(t, w, "more", in) }, 1}, // the watcher keeps no entry of a removed record
	} {
		tc.change()
		before := w.resolutions
		c := count(t.Context(), w, moment(0))
		if got := w.resolutions - before; got != tc.want {
			t.Errorf("census %d resolves %d times, want %d", i, got, tc.want)
		}
		for _, r := range c.records {
			if diff := cmp.Diff(r.Layers.Resolve(w.MinGrace), c.resolved[fileName(r)]); diff != "" {
				t.Errorf("census %d: %s (-want +got):\n%s", i, r.ContainerID, diff)
			}
		}
	}
}

// TestUnreadableDirectoryCapsEveryNetnsAtObserve replaces the directory with a file, and then puts it back.
func TestUnreadableDirectoryCapsEveryNetnsAtObserve(t *testing.T) {
	w := newTestWatcher(t)
	ns, later := nstest.New(t), nstest.New(t)
	in := func(ns *nstest.NS) func(*state.Record) {
		return func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)} }
	}
	put(t, w, "used", in(ns))
	held := func() bool { return len(w.roll.holdsOn(identify(t, ns))) > 0 }
	if c := count(t.Context(), w, moment(0)); len(c.records) != 1 || held() {
		t.Fatalf("%d records, held: %v", len(c.records), held())
	}
	dir := w.Store.AttachmentsDir()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := count(t.Context(), w, moment(0))
		if len(c.records) != 1 || !held() || len(w.roll.holdsOn(identify(t, later))) == 0 || len(w.roll.namespace(identify(t, ns)).Holds) == 0 {
			t.Errorf("%d records, held: %v, want one, and every netns", len(c.records), held())
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if c := count(t.Context(), w, moment(0)); len(c.records) != 1 || held() {
		t.Errorf("%d records, held: %v, want one, and not any more", len(c.records), held())
	}
}

// TestWatcherPrunesNoRecordOfAnUnmountedDirectory tests a container in which the directory of the namespaces is not
// mounted: a missing path does not prove that a namespace is gone.
func TestWatcherPrunesNoRecordOfAnUnmountedDirectory(t *testing.T) {
	w := newTestWatcher(t)
	at := func(path string) func(*state.Record) {
		return func(r *state.Record) { r.Netns.Path = path }
	}
	put(t, w, "unmounted", at(filepath.Join(w.Store.Dir(), "run", "netns", "cni-1")))
	put(t, w, "unmounted-and-rebooted", at(filepath.Join(w.Store.Dir(), "run", "netns", "cni-2")), func(r *state.Record) { r.Boot = otherBoot })
	put(t, w, "ended", at("/proc/4194305/ns/net")) // more than the kernel's highest pid
	put(t, w, "gone")

	c := count(t.Context(), w, moment(0))
	if len(c.records) != 0 || len(c.Inert) != 4 {
		t.Fatalf("%d records, %d inert", len(c.records), len(c.Inert))
	}
	for _, r := range c.Inert {
		if unmounted := r.Record.ContainerID == "unmounted"; strings.Contains(r.Reason, "mount the host's") != unmounted {
			t.Errorf("%s: %s", r.Record.ContainerID, r.Reason)
		}
	}
	count(t.Context(), w, moment(pruneAfter))
	if got := left(t, w); got != "unmounted" {
		t.Errorf("after ten minutes what is left is %s", got)
	}
}

// TestLeftOverRecordsAreNotInertAttachments tests the records of runtimes that call no DEL, such as libcni 1.3 with a
// drop-in. The alert on inert attachments is for network namespaces that exist and that the reaper cannot see.
func TestLeftOverRecordsAreNotInertAttachments(t *testing.T) {
	w := newTestWatcher(t)
	ns, hidden := nstest.New(t), nstest.New(t)
	if alive, err := netns.NewLiveness().Alive(identify(t, ns)); !alive || err != nil {
		t.Skipf("this kernel does not report whether a network namespace exists: %v", err)
	}
	put(t, w, "active", func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)} })
	for _, id := range []string{"left-1", "left-2", "left-3"} {
		put(t, w, id)
	}
	if got := count(t.Context(), w, moment(0)); len(got.Inert) != 3 || got.InertAttachments() != 0 {
		t.Errorf("of deleted namespaces: %d inert records and attachments %d", len(got.Inert), got.InertAttachments())
	}
	put(t, w, "hidden", func(r *state.Record) { r.Netns.Identity = identify(t, hidden) })
	put(t, w, "unmounted", func(r *state.Record) { r.Netns.Path = filepath.Join(w.Store.Dir(), "run", "netns", "cni-1") })
	if got := count(t.Context(), w, moment(0)); len(got.Inert) != 5 || got.InertAttachments() != 2 {
		t.Errorf("with two that may exist: %d inert records and attachments %d", len(got.Inert), got.InertAttachments())
	}
}

// TestRecordWithoutANetnsCookieIsInert tests an inode number without a cookie: a later namespace may reuse the number.
func TestRecordWithoutANetnsCookieIsInert(t *testing.T) {
	w := newTestWatcher(t)
	ns := nstest.New(t)
	h, err := netns.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	put(t, w, "a", func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: h.Stat()} })
	for _, at := range []time.Duration{0, pruneAfter, 2 * pruneAfter} {
		c := count(t.Context(), w, moment(at))
		if len(c.records) != 0 || len(c.Inert) != 1 || !strings.Contains(c.Inert[0].Reason, "without a netns cookie") {
			t.Errorf("after %v: %d records, inert %+v", at, len(c.records), c.Inert)
		}
		if got := left(t, w); got != "a" {
			t.Errorf("after %v what is left is %q, want the record of a namespace that may be used", at, got)
		}
	}
}

func TestWatcherDoesNotPruneRecordsOfTheHostNetns(t *testing.T) {
	w := newTestWatcher(t)
	r := put(t, w, "host")
	w.Never = []netns.Identity{r.Netns.Identity}
	for _, at := range []time.Duration{0, pruneAfter, 2 * pruneAfter} {
		c := count(t.Context(), w, moment(at))
		if len(c.Inert) != 1 || !strings.Contains(c.Inert[0].Reason, "--allow-host-netns") || left(t, w) != "host" {
			t.Errorf("after %v: %+v", at, c.Inert)
		}
	}
}

// watchIt runs the watcher until the test ends, and returns its counts.
func watchIt(t *testing.T, w *Watcher, take func(Update)) {
	t.Helper()
	w.interval = time.Hour // each change must reach it as an event
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

// watchInert starts the watcher, and returns a function that waits until it knows a number of inert records.
func watchInert(t *testing.T, w *Watcher) (inert func(want int)) {
	t.Helper()
	last := make(chan Update, 100)
	watchIt(t, w, func(c Update) { last <- c })
	return func(want int) {
		t.Helper()
		nstest.Eventually(t, patience, strconv.Itoa(want)+" records are known", func() bool {
			select {
			case c := <-last:
				return len(c.Inert) == want
			default:
				return false
			}
		})
	}
}

// TestWatcherFollowsTheDirectoryThatReplacesItsOwn moves the directory away: later records are in its replacement.
func TestWatcherFollowsTheDirectoryThatReplacesItsOwn(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	inert := watchInert(t, w)
	inert(0)
	put(t, w, "before")
	inert(1)
	if err := os.Rename(w.Store.AttachmentsDir(), w.Store.AttachmentsDir()+".away"); err != nil {
		t.Fatal(err)
	}
	inert(0)
	put(t, w, "a")
	inert(1)
	put(t, w, "b")
	inert(2)
}

func TestWatcherNoticesRecordsThatComeAndGo(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	inert := watchInert(t, w)
	inert(0)
	r := put(t, w, "a")
	inert(1)
	put(t, w, "b")
	inert(2)
	if err := w.Store.Delete(r.Attachment); err != nil {
		t.Fatal(err)
	}
	inert(1)
}

// TestWatcherSurvivesAnOverflowOfTheEventQueue blocks the watcher while more files are created and removed than an
// inotify queue can hold.
func TestWatcherSurvivesAnOverflowOfTheEventQueue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	room, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || room > 50_000 {
		t.Skipf("the inotify queue has room for too many events: %s", text)
	}
	w := newTestWatcher(t)
	held, last := make(chan struct{}), make(chan Update, 100)
	watchIt(t, w, func(c Update) {
		<-held
		last <- c
	})
	nstest.Eventually(t, patience, "the directory is there", func() bool {
		_, err := os.Stat(w.Store.AttachmentsDir())
		return err == nil
	})
	put(t, w, "first") // so that the directory is being watched, or will be read later
	name := filepath.Join(w.Store.AttachmentsDir(), "burst")
	for range room {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	close(held)
	known := func(want int) func() bool {
		return func() bool {
			for {
				select {
				case c := <-last:
					if len(c.Inert) == want {
						return true
					}
				default:
					return false
				}
			}
		}
	}
	nstest.Eventually(t, patience, "what came before is known", known(1))
	put(t, w, "second")
	nstest.Eventually(t, patience, "what comes after is known", known(2))
}

// expiringContext is done after a number of calls of Err.
type expiringContext struct {
	context.Context
	left int
}

func (c *expiringContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestShutdownDoesNotWaitForAllRecordsToBeRead has 200 files of 1 MiB of nested JSON, which take seconds to parse.
func TestShutdownDoesNotWaitForAllRecordsToBeRead(t *testing.T) {
	w := newTestWatcher(t)
	put(t, w, "a")
	large := filepath.Join(w.Store.AttachmentsDir(), "0@eth0.json")
	if err := os.WriteFile(large, []byte(`{"version": 2, "x": `+strings.Repeat(`[`, 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := os.Link(large, filepath.Join(w.Store.AttachmentsDir(), fmt.Sprintf("%d@eth0.json", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	expiring := &expiringContext{ctx, 3}
	if err := w.Run(expiring, func(c Update) {
		t.Errorf("an incomplete census was taken, with %d records and %d problems", c.Active, len(c.Problems))
		cancel()
	}); err != nil {
		t.Errorf("it returned %v", err)
	}
	if got := w.reader.Reads(); got > 3 {
		t.Errorf("%d files were read, although the shutdown came at the third", got)
	}
}

// TestARecordWhosePathHangsIsInertAndTheOthersAreActive tests paths on a FUSE file system whose server does not answer.
func TestARecordWhosePathHangsIsInertAndTheOthersAreActive(t *testing.T) {
	t.Parallel()
	w := newTestWatcher(t)
	ns, mount := nstest.New(t), nstest.MountHung(t)
	put(t, w, "active", func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)} })
	for i := range 6 {
		put(t, w, fmt.Sprintf("hung-%d", i), func(r *state.Record) { r.Netns.Path = filepath.Join(mount.Dir, strconv.Itoa(i)) })
	}
	c := count(t.Context(), w, moment(0))
	if len(c.records) != 1 || c.records[0].ContainerID != "active" || len(c.Inert) != 6 {
		t.Fatalf("%d records, %d inert", len(c.records), len(c.Inert))
	}
	for _, r := range c.Inert {
		if !strings.Contains(r.Reason, netns.ErrHangs.Error()) || r.final {
			t.Errorf("%s: %s, final: %v", r.Record.ContainerID, r.Reason, r.final)
		}
	}
	mount.Answer()
	nstest.Eventually(t, patience, "the paths are opened again", func() bool {
		c := count(t.Context(), w, moment(0))
		return !slices.ContainsFunc(c.Inert, func(r Inert) bool { return strings.Contains(r.Reason, netns.ErrHangs.Error()) })
	})
}
