// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package atomicdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
)

// open opens a directory with these files.
func open(t *testing.T, files map[string]string, onStep func(op, path string)) (*atomicdir.Dir, string) {
	t.Helper()
	path := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(path, name), data)
	}
	d, err := atomicdir.Open("", path, onStep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d, path
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(data)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
}

func appendX(data []byte) ([]byte, error) { return append(data, 'x'), nil }

func TestAForeignWriteBeforeAnyExchangeIsNotLost(t *testing.T) {
	for _, inPlace := range []bool{true, false} {
		for count := range 8 { // foreign writes, each before the next exchange or its undoing
			path := t.TempDir()
			write(t, filepath.Join(path, "a"), "a")
			writes := 0
			d, err := atomicdir.Open("", path, func(op, _ string) {
				if op != "rename" || writes == count {
					return
				}
				writes++
				to := filepath.Join(path, "a")
				if !inPlace {
					to = filepath.Join(path, "new")
				}
				write(t, to, strings.Repeat("b", writes))
				if err := os.Rename(to, filepath.Join(path, "a")); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Update("a", appendX); err != nil {
				t.Error(err)
			}
			d.Close()
			data := strings.Repeat("b", count) + "x"
			if count == 0 {
				data = "ax"
			}
			want(t, path, map[string]string{"a": data})
			if writes != count || t.Failed() {
				t.Fatalf("in place %t: %d foreign writes of %d", inPlace, writes, count)
			}
		}
	}
}

func TestOnlyAFileWithTheExpectedContentIsMoved(t *testing.T) {
	d, path := open(t, map[string]string{"a": "1", "b": "2", "c": "3"}, nil)
	if err := d.Move("a", []byte("0"), "z"); !errors.Is(err, atomicdir.ErrChanged) {
		t.Errorf("another content: %v", err)
	}
	if err := errors.Join(d.Move("b", []byte("2"), "y"), d.Move("c", []byte("3"), "")); err != nil {
		t.Error(err)
	}
	if err := d.Move("none", nil, ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	want(t, path, map[string]string{"a": "1", "y": "2"})
	if err := d.RenameNew("a", "y"); !errors.Is(err, os.ErrExist) {
		t.Errorf("to an existing name: %v", err)
	}
}

func TestTheLockRemovesTheRemainsOfAKilledProcess(t *testing.T) {
	d, path := open(t, map[string]string{
		".halfclose.lock":                         "network",
		".halfclose-moved-gone.tmp":               "moved away, not verified",
		".halfclose-moved-a.tmp":                  "moved away before another process wrote a",
		".halfclose-0123456789abcdef-a.tmp":       "never in place",
		".halfclose-ca978112ca1bbdca-swapped.tmp": "foreign", // the digest of "a"
		".halfclose.conf":                         "of another program",
		"a":                                       "a",
		"swapped":                                 "a",
	}, nil)
	if !d.HasRemains() {
		t.Error("it finds no remains")
	}
	note, err := d.Lock(t.Context(), atomicdir.LockTimeout)
	if err != nil || note != "network" {
		t.Errorf("note %q, %v", note, err)
	}
	if err := d.Note("n"); err != nil {
		t.Error(err)
	}
	d.Close()
	want(t, path, map[string]string{
		"a": "a", "gone": "moved away, not verified", "swapped": "foreign", ".halfclose.conf": "of another program",
	})
}

func TestFilesAndLinksAreReplacedWhateverTheyAre(t *testing.T) {
	d, path := open(t, map[string]string{"a": "1"}, nil)
	if err := errors.Join(d.PutLink("a", "b"), d.PutFile("b", []byte("2"), atomicdir.DefaultOwner(0o640)), d.CreateNew("c", []byte("3"), atomicdir.DefaultOwner(0o600))); err != nil {
		t.Fatal(err)
	}
	want(t, path, map[string]string{"a": "2", "b": "2", "c": "3"})
	if stat, err := d.Lstat("b"); err != nil || stat.Mode != unix.S_IFREG|0o640 {
		t.Errorf("mode %o, %v", stat.Mode, err)
	}
	if err := errors.Join(d.Mkdir("dir", 0o755), d.Mkdir("dir", 0o755), d.RmdirIfEmpty("dir")); err != nil {
		t.Error(err)
	}
	if err := d.CreateNew("c", nil, atomicdir.DefaultOwner(0o600)); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}
}
