// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/state"
)

// putIn records an existing namespace.
func putIn(t testing.TB, w *Watcher, ns *nstest.NS, id string, change ...func(*state.Record)) state.Record {
	t.Helper()
	in := func(r *state.Record) { r.Netns = state.Netns{Path: ns.Path(), Identity: identify(t, ns)} }
	return put(t, w, id, append([]func(*state.Record){in}, change...)...)
}

// age sets the watcher's files back to before the last tick of the kernel's clock, so that their stamps show each later change.
func age(t testing.TB, w *Watcher) {
	t.Helper()
	time.Sleep(120 * time.Millisecond) // the change time cannot be set
	w.turn(t.Context(), turn{all: true}, moment(0))
	w.roll.update()
}

// step makes a turn, and returns its update and how many files were read in it.
func step(t testing.TB, w *Watcher, now turn) (u Update, reads uint64) {
	t.Helper()
	before := w.reader.Reads()
	w.turn(t.Context(), now, moment(0))
	u, _ = w.roll.update()
	return u, w.reader.Reads() - before
}

// containers returns the container IDs of an update's active records, by namespace.
func containers(u Update) (ids []string) {
	for _, n := range u.Namespaces {
		var in []string
		for _, r := range n.Records {
			in = append(in, r.ContainerID)
		}
		ids = append(ids, strings.Join(in, "+"))
	}
	slices.Sort(ids)
	return ids
}

func TestOnlyChangedFilesAreReadAndOnlyChangedNamespacesReported(t *testing.T) {
	w := newTestWatcher(t)
	for i := range 5 {
		putIn(t, w, nstest.New(t), fmt.Sprintf("c%d", i))
	}
	if u, reads := step(t, w, turn{all: true}); len(u.Namespaces) != 5 || reads != 5 || u.Active != 5 {
		t.Fatalf("at first %d namespaces, %d active, %d reads", len(u.Namespaces), u.Active, reads)
	}
	age(t, w)
	if u, reads := step(t, w, turn{all: true, slice: true}); len(u.Namespaces) != 0 || reads != 0 {
		t.Errorf("without a change: %q, %d reads", containers(u), reads)
	}
	ns := nstest.New(t)
	r := putIn(t, w, ns, "c5")
	if u, reads := step(t, w, turn{files: []string{fileName(r)}}); !slices.Equal(containers(u), []string{"c5"}) || reads != 1 || u.Active != 6 {
		t.Errorf("with another record: %q, %d reads, %d active", containers(u), reads, u.Active)
	}
	again := putIn(t, w, ns, "c5", func(r *state.Record) { r.Layers.Observe = "for a test" })
	if u, reads := step(t, w, turn{all: true}); !slices.Equal(containers(u), []string{"c5"}) || reads != 1 {
		t.Errorf("with one rewritten: %q, %d reads", containers(u), reads)
	}
	if err := w.Store.Delete(again.Attachment); err != nil {
		t.Fatal(err)
	}
	if u, reads := step(t, w, turn{all: true}); !slices.Equal(containers(u), []string{""}) || reads != 0 || u.Active != 5 {
		t.Errorf("with one deleted: %q, %d reads, %d active", containers(u), reads, u.Active)
	}
}

// TestAFileThatIsRewrittenWithTheSameSizeAndTimesIsReadAgain sets the modification time back, as cp --preserve does, and overwrites a
// file in place within a tick of the kernel's clock.
func TestAFileThatIsRewrittenWithTheSameSizeAndTimesIsReadAgain(t *testing.T) {
	for name, pause := range map[string]time.Duration{"within a tick": 0, "later": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := newTestWatcher(t)
			r := putIn(t, w, nstest.New(t), "a", func(r *state.Record) { r.Network = "net-1" })
			path := filepath.Join(w.Store.AttachmentsDir(), fileName(r))
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				was, now := fmt.Sprintf("net-%d", i%2+1), fmt.Sprintf("net-%d", (i+1)%2+1)
				if u, _ := step(t, w, turn{all: true}); i == 0 && len(u.Namespaces) != 1 {
					t.Fatalf("at first: %q", containers(u))
				}
				time.Sleep(pause)
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				data = []byte(strings.Replace(string(data), was, now, 1))
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err == nil {
					_, err = f.WriteAt(data, 0)
					err = cmpErr(err, f.Close())
				}
				if err = cmpErr(err, os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
					t.Fatal(err)
				}
				u, _ := step(t, w, turn{all: true})
				if len(u.Namespaces) != 1 || u.Namespaces[0].Records[0].Network != now {
					t.Fatalf("rewrite %d is not known: %+v", i, u.Namespaces)
				}
			}
		})
	}
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func TestANamespaceDeletedWithoutADELIsNoticedWhenItsPathIsLookedAt(t *testing.T) {
	w := newTestWatcher(t)
	const many = 3 * maxSlice
	stays := nstest.New(t)
	for i := range many {
		putIn(t, w, stays, fmt.Sprintf("stays-%03d", i))
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "netns")
	if err := os.Symlink(nstest.New(t).Path(), link); err != nil {
		t.Fatal(err)
	}
	id, err := netns.Identify(link)
	if err != nil {
		t.Fatal(err)
	}
	r := put(t, w, "gone", func(r *state.Record) { r.Netns = state.Netns{Path: link, Identity: id} })
	if u, _ := step(t, w, turn{all: true}); u.Active != many+1 {
		t.Fatalf("%d active records", u.Active)
	}
	for _, what := range []string{"gone", "another"} {
		change := func() error { return os.Remove(link) }
		if what == "another" {
			change = func() error { return os.Symlink(nstest.New(t).Path(), link) }
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		slices := int(recordCheckInterval/w.queue.interval(recordCheckInterval)) + 1
		noticed := false
		for range slices {
			u, reads := step(t, w, turn{slice: true})
			noticed = noticed || len(u.Inert) == 1 && u.Active == many
			if reads != 0 {
				t.Errorf("%s: %d files were read", what, reads)
			}
		}
		if !noticed {
			t.Errorf("%s: in a half minute of %d slices it is not noticed", what, slices)
		}
		if holds := w.roll.holdsOn(id); len(holds) != 1 || holds[0].File != fileName(r) {
			t.Errorf("%s: the netns is held by %+v", what, holds)
		}
	}
}

// TestARecordThatIsWrittenAgainHasItsPathOpenedAgain has a path that leads elsewhere for a while.
func TestARecordThatIsWrittenAgainHasItsPathOpenedAgain(t *testing.T) {
	w := newTestWatcher(t)
	ns, elsewhere := nstest.New(t), nstest.New(t)
	link := filepath.Join(t.TempDir(), "netns")
	to := func(ns *nstest.NS) {
		t.Helper()
		if err := os.Symlink(ns.Path(), link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	to(ns)
	r := putIn(t, w, ns, "a", func(r *state.Record) { r.Netns.Path = link })
	step(t, w, turn{all: true})
	for _, tc := range []struct {
		to     *nstest.NS
		active int
	}{{elsewhere, 0}, {ns, 1}} {
		to(tc.to)
		if err := w.Store.Put(r); err != nil { // the same content
			t.Fatal(err)
		}
		if u, _ := step(t, w, turn{files: []string{fileName(r)}}); u.Active != tc.active || len(u.Inert) != 1-tc.active || len(u.Namespaces) != 1 {
			t.Errorf("%d active, %d inert, %d namespaces have changed, want %d active", u.Active, len(u.Inert), len(u.Namespaces), tc.active)
		}
	}
}

func TestAHoldReachesTheNamespacesThatItNames(t *testing.T) {
	w := newTestWatcher(t)
	ns, other := nstest.New(t), nstest.New(t)
	r := putIn(t, w, ns, "a")
	putIn(t, w, other, "b")
	step(t, w, turn{all: true})
	damaged := strings.Replace(fileName(r), "a@", "half@", 1)
	path := filepath.Join(w.Store.AttachmentsDir(), damaged)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	u, _ := step(t, w, turn{files: []string{damaged}})
	if !slices.Equal(containers(u), []string{"a"}) || len(u.Namespaces[0].Holds) != 1 || len(u.Problems) != 1 || u.Mistakes != 1 {
		t.Errorf("a damaged file: %+v", u)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	u, _ = step(t, w, turn{files: []string{damaged}})
	if !slices.Equal(containers(u), []string{"a"}) || len(u.Namespaces[0].Holds) != 0 || len(u.Problems) != 0 || u.Mistakes != 0 {
		t.Errorf("without the damaged file: %+v", u)
	}
}

func TestMistakesInRecordsAreProblemsToo(t *testing.T) {
	w := newTestWatcher(t)
	log := w.Warnings.(*warnings)
	r := putIn(t, w, nstest.New(t), "a", func(r *state.Record) { r.Warnings = []string{"one", "two"} })
	putIn(t, w, nstest.New(t), "b")
	put(t, w, "gone", func(r *state.Record) { r.Warnings = []string{"three"} })
	if err := os.WriteFile(filepath.Join(w.Store.AttachmentsDir(), "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if u, _ := step(t, w, turn{all: true, isFresh: true}); u.Active != 2 || len(u.Inert) != 1 || u.Mistakes != 2 {
			t.Errorf("%d active, %d inert, %d mistakes", u.Active, len(u.Inert), u.Mistakes)
		}
		if got := log.counts[WarnRecords]; got != 2 {
			t.Errorf("%d warnings were logged, want one of each mistake:\n%s", got, strings.Join(log.texts, "\n"))
		}
	}
	r.Time = r.Time.Add(time.Second)
	if err := w.Store.Put(r); err != nil {
		t.Fatal(err)
	}
	step(t, w, turn{all: true})
	if got := log.counts[WarnRecords]; got != 3 {
		t.Errorf("%d warnings were logged after another ADD", got)
	}
}

func TestAChangedPolicyFileReportsTheNamespacesWhosePoliciesItChanges(t *testing.T) {
	w := newTestWatcher(t)
	w.MinGrace = time.Minute
	in := func(namespace string) func(*state.Record) {
		return func(r *state.Record) { r.Pod = state.Pod{Namespace: namespace, Name: "pod"} }
	}
	putIn(t, w, nstest.New(t), "a", in("shop"))
	putIn(t, w, nstest.New(t), "b", in("other"))
	u, _ := step(t, w, turn{all: true})
	for _, n := range u.Namespaces {
		if p := n.Resolved[0].Policies[0]; time.Duration(p.CloseWaitGrace) < w.MinGrace {
			t.Errorf("a grace is %v, less than the minimum", p.CloseWaitGrace)
		}
	}
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("version: 1\npods:\n- match: {namespace: shop}\n  set: {mode: observe}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Follower = policyfile.NewFollower(policyfile.Location{Path: path}, time.Now, w.Notify)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Follower.Run(ctx) }()
	c := <-w.Follower.Changes()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.setPolicyFile(c)
	u, reads := step(t, w, turn{})
	if !slices.Equal(containers(u), []string{"a"}) || u.Namespaces[0].Resolved[0].Policies[0].Mode != policy.Observe || reads != 0 {
		t.Errorf("changed are %q, by %d reads: %+v", containers(u), reads, u.Namespaces)
	}
	if u.PolicyFile.Path != path || len(u.PolicyFile.Problems) > 0 {
		t.Errorf("the policy file is %+v", u.PolicyFile)
	}
}

func TestSlicesOfPathsCoverAllRecordsInHalfAMinute(t *testing.T) {
	for _, records := range []int{0, 1, maxSlice, maxSlice + 1, 250, 1000} {
		q := newQueue()
		for i := range records {
			q.add(fmt.Sprint(i))
		}
		looked := make(map[string]int)
		interval := q.interval(recordCheckInterval)
		for at := interval; at <= recordCheckInterval; at += interval {
			names := q.pop()
			if len(names) > maxSlice {
				t.Errorf("of %d, a slice has %d", records, len(names))
			}
			for _, name := range names {
				looked[name]++
				q.add(name)
			}
		}
		if len(looked) != records {
			t.Errorf("of %d, %d were looked at", records, len(looked))
		}
	}
}
