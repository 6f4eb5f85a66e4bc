// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

func TestReadFileReadsUpToTheLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 511, 512, 513, 4096, 100_000} {
		text := strings.Repeat("x", size)
		write(t, path, text)
		for _, limit := range []int{size, size + 1, 2*size + 10} {
			if data, err := hostfs.ReadFile(path, limit, 0); err != nil || string(data) != text {
				t.Errorf("%d bytes with the limit %d: read %d, %v", size, limit, len(data), err)
			}
		}
		if size == 0 {
			continue
		}
		data, err := hostfs.ReadFile(path, size-1, 0)
		large, ok := errors.AsType[*hostfs.TooLargeError](err)
		if !ok || large.Limit != size-1 || string(data) != text {
			t.Errorf("%d bytes with the limit %d: read %d, %v", size, size-1, len(data), err)
		}
	}
}

func TestReadFileReadsNoMoreThanTheLimitOfALargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	write(t, path, "")
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	data, err := hostfs.ReadFile(path, 1000, 0)
	if _, ok := errors.AsType[*hostfs.TooLargeError](err); !ok || len(data) != 1001 {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
}

func TestReadFileReadsAFileWithoutASize(t *testing.T) {
	const path = "/proc/self/mountinfo"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := hostfs.ReadFile(path, 1<<20, 0); err != nil || string(data) != string(want) {
		t.Errorf("read %d bytes of %d, %v", len(data), len(want), err)
	}
}

func TestReadFileReadsOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "text")
	mkfifo(t, filepath.Join(dir, "fifo"))
	symlink(t, "file", filepath.Join(dir, "link"))
	for _, path := range []string{dir, filepath.Join(dir, "fifo"), "/dev/zero"} {
		data, err := hostfs.ReadFile(path, 100, 0)
		if _, ok := errors.AsType[*hostfs.NotRegularError](err); !ok || len(data) > 0 {
			t.Errorf("read of %s: %q, %v", path, data, err)
		}
	}
	if data, err := hostfs.ReadFile(filepath.Join(dir, "link"), 100, 0); err != nil || string(data) != "text" {
		t.Errorf("through a link: %q, %v", data, err)
	}
	if _, err := hostfs.ReadFile(filepath.Join(dir, "link"), 100, unix.O_NOFOLLOW); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a link with O_NOFOLLOW: %v", err)
	}
	if data, err := hostfs.ReadFile(filepath.Join(dir, "file"), 100, unix.O_NOFOLLOW); err != nil || string(data) != "text" {
		t.Errorf("read %q, %v", data, err)
	}
}

func TestRetryRepeatsAnInterruptedCall(t *testing.T) {
	calls := 0
	v, err := hostfs.Retry(func() (string, error) {
		if calls++; calls < 4 {
			return "", &os.PathError{Op: "open", Err: unix.EINTR}
		}
		return "done", unix.EAGAIN // any other error ends it
	})
	if v != "done" || calls != 4 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %q, %v after %d calls", v, err, calls)
	}
}

func TestOpenRegularOpensNothingElse(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, create := range map[string]func(path string) error{
		"a symbolic link":           func(path string) error { return os.Symlink(target, path) },
		"a link that leads nowhere": func(path string) error { return os.Symlink(filepath.Join(dir, "absent"), path) },
		"a FIFO":                    func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":               func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for access, flags := range map[string]int{"to read": os.O_RDONLY, "to append": os.O_WRONLY | os.O_APPEND | os.O_CREATE, "to change": os.O_RDWR | os.O_CREATE} {
			t.Run(name+" "+access, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "x")
				if err := create(path); err != nil {
					t.Fatal(err)
				}
				f, err := hostfs.OpenRegular(path, flags, 0o600)
				if err == nil {
					f.Close()
					t.Error("it was opened")
				}
			})
		}
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "untouched" {
		t.Errorf("the link's target has %q, %v", text, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v, want the target alone", entries, err)
	}
}

func TestReadStartReadsUntilTheBufferIsFullOrTheFileEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]string{0: "", 3: "con", 7: "content", 100: "content"} {
		if got, err := hostfs.ReadStart(unix.AT_FDCWD, path, make([]byte, size)); string(got) != want || err != nil {
			t.Errorf("with a buffer of %d bytes: %q, %v", size, got, err)
		}
	}
	if got, err := hostfs.ReadStart(unix.AT_FDCWD, path+"-missing", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %q, %v", got, err)
	}
}
