// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// hungRoot returns a Root and a directory in which every path hangs.
func hungRoot(t *testing.T) (*Root, *nstest.HungMount) {
	t.Helper()
	mount := nstest.MountHung(t)
	root, err := NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, mount
}

// hanging returns the number of operations that hang.
func (r *Root) hanging() int {
	r.hung.mu.Lock()
	defer r.hung.mu.Unlock()
	return len(r.hung.paths)
}

func TestAPathThatHangsIsAttemptedOnceUntilItAnswers(t *testing.T) {
	t.Parallel()
	root, mount := hungRoot(t)
	path, other := filepath.Join(mount.Dir, "a"), nstest.New(t)
	for range 3 {
		if _, err := root.Open(path); !errors.Is(err, ErrHangs) || IsGone(err) {
			t.Errorf("open: %v, want that it hangs", err)
		}
	}
	if _, err := root.Stat(path); !errors.Is(err, ErrHangs) {
		t.Errorf("stat: %v, want that it hangs", err)
	}
	if got := root.hanging(); got != 1 {
		t.Errorf("%d operations hang, want that only the first was attempted", got)
	}
	h, err := root.Open(other.Path())
	if err != nil {
		t.Fatalf("another path: %v", err)
	}
	h.Close()

	mount.Answer()
	nstest.Eventually(t, 2*time.Minute, "the path is attempted again", func() bool {
		_, err := root.Open(path)
		return err != nil && !errors.Is(err, ErrHangs)
	})
}

func TestTheThreadsOfPathsThatHangAreBounded(t *testing.T) {
	t.Parallel()
	root, mount := hungRoot(t)
	root.hung.patience = time.Millisecond
	for dir := range maxHung {
		for file := range 2 * maxHungPerDir {
			path := filepath.Join(mount.Dir, fmt.Sprintf("%d/%d", dir, file))
			if _, err := root.Open(path); !errors.Is(err, ErrHangs) {
				t.Fatalf("open %s: %v, want that it hangs", path, err)
			}
			if got, limit := root.hanging(), min((dir+1)*maxHungPerDir, maxHung); got > limit {
				t.Fatalf("%d operations hang after %d directories, want at most %d", got, dir+1, limit)
			}
		}
	}
	if got := root.hanging(); got != maxHung {
		t.Errorf("%d operations hang, want %d", got, maxHung)
	}
	mount.Answer()
	nstest.Eventually(t, 2*time.Minute, "no operation hangs", func() bool { return root.hanging() == 0 })
	if got := len(root.hung.dirs); got != 0 {
		t.Errorf("%d directories count as having paths that hang", got)
	}
}

func TestARootWhosePathHangsCloses(t *testing.T) {
	t.Parallel()
	mount := nstest.MountHung(t)
	root, err := NewRoot(filepath.Dir(mount.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Open("/" + filepath.Base(mount.Dir) + "/a"); !errors.Is(err, ErrHangs) {
		t.Errorf("open: %v, want that it hangs", err)
	}
	if err := root.Close(); err != nil {
		t.Error(err)
	}
}

func TestStatShowsWhatAPathLeadsTo(t *testing.T) {
	ns := nstest.New(t)
	for _, dir := range []string{"", "/proc/self/root"} {
		root, err := NewRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		h, err := root.Open(ns.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if got, err := root.Stat(ns.Path()); err != nil || got != h.Stat() {
			t.Errorf("below %q: %v, %v, want %v", dir, got, err, h.Stat())
		}
		if _, err := root.Stat("/no such file"); !IsGone(err) {
			t.Errorf("below %q, an absent path: %v", dir, err)
		}
	}
}
