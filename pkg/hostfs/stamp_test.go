// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

func TestAStampChangesWithTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	old := time.Now().Add(-time.Hour)
	rewrite := func(text string) error {
		err := os.WriteFile(path, []byte(text), 0o600)
		if err == nil {
			err = os.Chtimes(path, old, old)
		}
		return err
	}
	replace := func() error {
		err := os.Link(path, path+".link")
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			err = rewrite("text")
		}
		return err
	}
	if err := rewrite("text"); err != nil {
		t.Fatal(err)
	}
	was := stampOf(t, path)
	if again := stampOf(t, path); again != was {
		t.Errorf("without a change it is %+v, was %+v", again, was)
	}
	for name, change := range map[string]func() error{
		"the same size and modification time": func() error { return rewrite("txet") },
		"another size":                        func() error { return rewrite("more text") },
		"another file":                        replace,
	} {
		time.Sleep(20 * time.Millisecond) // two ticks of the slowest kernel clock
		was = stampOf(t, path)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		if stampOf(t, path) == was {
			t.Errorf("%s: the stamp is the same", name)
		}
	}
}

// stampOf returns the stamp of a file, and checks that both functions return the same.
func stampOf(t *testing.T, path string) hostfs.Stamp {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	at, err := hostfs.StampAt(int(dir.Fd()), filepath.Base(path))
	if err != nil || at != hostfs.StampOf(info) {
		t.Errorf("StampAt: %+v, %v, StampOf: %+v", at, err, hostfs.StampOf(info))
	}
	return at
}

func TestAStampShowsNoChangesWithinATickOfTheKernelsClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	changed, stamp := time.Unix(st.Ctim.Unix()), stampOf(t, path)
	for after, want := range map[time.Duration]bool{-time.Hour: false, 0: false, 50 * time.Millisecond: false, 150 * time.Millisecond: true, time.Hour: true} {
		if got := stamp.ShowsChangesAfter(changed.Add(after)); got != want {
			t.Errorf("read %v after its change: %v, want %v", after, got, want)
		}
	}
	if (hostfs.Stamp{}).ShowsChangesAfter(time.Now()) {
		t.Error("the stamp of no file shows changes")
	}
}
