// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package dirwatch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/halfclose/halfclose/internal/nstest"
)

var testConfig = Config{Debounce: 10 * time.Millisecond, Recheck: time.Hour, Poll: time.Second}

// fake is a source of events that the test sends.
type fake struct {
	events  chan struct{}
	errors  chan error
	refused error // what add returns
}

func newFake() *fake { return &fake{events: make(chan struct{}), errors: make(chan error)} }

func (f *fake) start(t *testing.T) *Watcher {
	w := start(testConfig, source{
		events: f.events, errors: f.errors, add: func(string) error { return f.refused }, take: func() Burst { return Burst{} }, close: func() error { return nil },
	})
	t.Cleanup(func() { w.Close() })
	return w
}

// received returns the next report, and how long it took. It waits for a minute at most.
func received(w *Watcher) (after time.Duration, ok bool, err error) {
	start := time.Now()
	select {
	case burst := <-w.Changes():
		return time.Since(start), true, burst.Missed
	case <-time.After(time.Minute):
		return 0, false, nil
	}
}

func TestBurstIsReportedOnceAfterItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := f.start(t)
		go func() {
			for range 5 {
				f.events <- struct{}{}
				time.Sleep(testConfig.Debounce / 2)
			}
		}()
		if after, ok, err := received(w); !ok || err != nil || after != 3*testConfig.Debounce {
			t.Errorf("reported %v after %v, %v, want nil after %v", err, after, ok, 3*testConfig.Debounce)
		}
		if after, ok, err := received(w); ok {
			t.Errorf("reported again, %v, after %v", err, after)
		}
	})
}

func TestUnendingBurstIsReportedAfterTenDebounceTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := f.start(t)
		stop := make(chan struct{})
		var sender sync.WaitGroup
		defer sender.Wait()
		defer close(stop)
		sender.Go(func() {
			for {
				select {
				case f.events <- struct{}{}:
				case <-stop:
					return
				}
				time.Sleep(testConfig.Debounce / 2)
			}
		})
		for range 3 {
			if after, ok, err := received(w); !ok || err != nil || after > 11*testConfig.Debounce {
				t.Errorf("reported %v after %v, %v, want nil after about %v", err, after, ok, 10*testConfig.Debounce)
			}
		}
	})
}

func TestMissedChangesAreReportedAsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := f.start(t)
		go func() { f.errors <- fsnotify.ErrEventOverflow }()
		if _, ok, err := received(w); !ok || !errors.Is(err, fsnotify.ErrEventOverflow) {
			t.Errorf("reported %v, %v", err, ok)
		}
	})
}

func TestDirectoryThatIsNotFollowedIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := f.start(t)
		if got := w.Interval(); got != testConfig.Poll {
			t.Errorf("before Follow: %v", got)
		}
		for _, refused := range []error{nil, os.ErrNotExist, nil} {
			f.refused = refused
			if err := w.Follow("a", "b"); !errors.Is(err, refused) {
				t.Errorf("Follow returned %v, want %v", err, refused)
			}
			want := testConfig.Recheck
			if refused != nil {
				want = testConfig.Poll
			}
			if got := w.Interval(); got != want {
				t.Errorf("with %v the interval is %v, want %v", refused, got, want)
			}
		}
	})
}

func TestWatcherWithoutInotifyPolls(t *testing.T) {
	w := &Watcher{config: testConfig, err: os.ErrPermission}
	defer w.Close()
	if err := w.Follow(t.TempDir()); !errors.Is(err, os.ErrPermission) || w.Interval() != testConfig.Poll {
		t.Errorf("Follow returned %v, and the interval is %v", err, w.Interval())
	}
	select {
	case burst := <-w.Changes():
		t.Errorf("reported %v", burst)
	default:
	}
}

func TestDirectoryThatReplacesAnotherIsFollowed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	w := New(testConfig)
	defer w.Close()
	announced := func(what string) {
		t.Helper()
		nstest.Eventually(t, 10*time.Second, what+" is announced", func() bool {
			select {
			case burst := <-w.Changes():
				return burst.Missed == nil
			default:
				return false
			}
		})
	}
	for _, name := range []string{"first", "second"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := w.Follow(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		announced("a file in the " + name + " directory")
		if err := os.Rename(dir, dir+name); err != nil {
			t.Fatal(err)
		}
		announced("the move of the " + name + " directory")
	}
}

func TestWatchersOfOneInstanceGetTheChangesOfTheirOwnDirectories(t *testing.T) {
	i := NewInstance()
	defer func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}()
	shared, alone, unchanged := t.TempDir(), t.TempDir(), t.TempDir()
	first, second, third := i.Watch(testConfig), i.Watch(testConfig), i.Watch(testConfig)
	for w, dirs := range map[*Watcher][]string{first: {shared, alone}, second: {shared + "/"}, third: {unchanged}} {
		if err := w.Follow(dirs...); err != nil {
			t.Fatal(err)
		}
		if got := w.Interval(); got != testConfig.Recheck {
			t.Errorf("the interval is %v", got)
		}
	}
	write := func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(shared)
	for _, w := range []*Watcher{first, second} {
		if _, ok, err := received(w); !ok || err != nil {
			t.Errorf("a change of the shared directory: %v, %v", ok, err)
		}
	}
	if err := second.Close(); err != nil { // the others go on
		t.Error(err)
	}
	write(alone)
	if _, ok, err := received(first); !ok || err != nil {
		t.Errorf("after another was closed: %v, %v", ok, err)
	}
	write(unchanged)
	if _, ok, err := received(third); !ok || err != nil {
		t.Errorf("the third: %v, %v", ok, err)
	}
	select {
	case burst := <-third.Changes():
		t.Errorf("it reports changes of other directories: %v", burst)
	default:
	}
	first.Close()
	third.Close()
}

// TestABurstHasAllChangedFilesWhileItsUserIsBusy makes changes before the user receives any, and then more than are
// remembered.
func TestABurstHasAllChangedFilesWhileItsUserIsBusy(t *testing.T) {
	dir := t.TempDir()
	w := New(testConfig)
	defer w.Close()
	if err := w.Follow(dir); err != nil {
		t.Fatal(err)
	}
	change := func(count int) (paths []string) {
		for i := range count {
			path := filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		return paths
	}
	all := func(count int, missed error) {
		t.Helper()
		want := change(count)
		got := make(map[string]bool)
		nstest.Eventually(t, 2*time.Minute, "all changed files are known, or that some were missed", func() bool {
			select {
			case b := <-w.Changes():
				if missed != nil {
					return errors.Is(b.Missed, missed)
				}
				for _, file := range b.Files {
					got[file] = true
				}
				if b.Missed != nil {
					t.Fatalf("missed: %v", b.Missed)
				}
			default:
			}
			return missed == nil && !slices.ContainsFunc(want, func(path string) bool { return !got[path] })
		})
	}
	all(100, nil)
	all(3*maxFiles, errTooManyFiles)
	for quiet := false; !quiet; {
		select {
		case <-w.Changes():
		case <-time.After(time.Second):
			quiet = true
		}
	}
	all(100, nil)
}

func TestADirectoryThatHangsDelaysNoOther(t *testing.T) {
	hung, dir := nstest.MountHung(t), t.TempDir()
	i := NewInstance()
	w, other := i.Watch(testConfig), i.Watch(testConfig)
	for range 2 {
		if err := w.Follow(hung.Dir); !errors.Is(err, errHangs) {
			t.Errorf("a directory that hangs is followed: %v", err)
		}
	}
	if err := other.Follow(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if b := <-other.Changes(); len(b.Files) == 0 || b.Missed != nil {
		t.Errorf("the other directory's change is reported as %+v", b)
	}
	hung.Answer()
	nstest.Eventually(t, time.Minute, "the directory no longer hangs", func() bool { return !errors.Is(w.Follow(hung.Dir), errHangs) })
	if err := errors.Join(w.Close(), other.Close(), i.Close()); err != nil {
		t.Error(err)
	}
}
