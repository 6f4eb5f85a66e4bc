// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

func TestADirectoryFollowsLinksOnlyOnRequest(t *testing.T) {
	dir, _, _ := node(t)
	d := openDirectory(t, hostfs.Dir(dir), "/dir/..")
	if d.Path() != "/dir/.." {
		t.Errorf("its path is %s", d.Path())
	}
	for _, link := range []string{"absolute", "up", "escape"} {
		if f, err := d.Open(link, unix.O_RDONLY, 0); !errors.Is(err, unix.ELOOP) {
			t.Errorf("opened %s: %v, %v", link, f, err)
		}
	}
	for _, link := range []string{"absolute", "up"} {
		f, err := d.Follow(link)
		if err != nil {
			t.Errorf("follow %s: %v", link, err)
			continue
		}
		if data, err := io.ReadAll(f); err != nil || string(data) != "inside" {
			t.Errorf("follow %s: %q, %v", link, data, err)
		}
		f.Close()
	}
	for _, link := range []string{"escape", "escape-up", "absent"} {
		if f, err := d.Follow(link); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("followed %s: %v, %v", link, f, err)
		}
	}
	if _, err := d.Below("dir"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a link: %v", err)
	}
	for _, name := range []string{"dir", "etc"} {
		sub, err := d.FollowBelow(name)
		if err != nil {
			t.Errorf("follow %s: %v", name, err)
			continue
		}
		if f, err := sub.Open("file", unix.O_RDONLY, 0); err != nil {
			t.Error(err)
		} else {
			f.Close()
		}
		sub.Close()
	}
	for name, want := range map[string]error{"absolute": unix.ENOTDIR, "escape-dir": os.ErrNotExist, "absent": os.ErrNotExist} {
		if _, err := d.FollowBelow(name); !errors.Is(err, want) {
			t.Errorf("follow %s: %v, want %v", name, err, want)
		}
	}
}

func TestEntriesListsTheFilesAtEachCall(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "c/d"} {
		write(t, filepath.Join(dir, name), "")
	}
	d := openDirectory(t, "", dir)
	for range 2 {
		entries, err := d.Entries()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, []string{"a", "b", "c"}) {
			t.Errorf("got %q", names)
		}
	}
	if _, err := hostfs.Dir("").OpenDirectory(filepath.Join(dir, "a")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("open a file as a directory: %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Error(err)
	}
}
