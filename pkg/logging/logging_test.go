// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/logging"
)

func TestStderrText(t *testing.T) {
	var b bytes.Buffer
	log, closer, err := logging.New(logging.Options{Stderr: &b, Level: slog.LevelWarn})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "n", 1)
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	got := b.String()
	if !strings.HasPrefix(got, "time=") || !strings.HasSuffix(got, "level=WARN msg=loud n=1\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}

func TestStderrJSON(t *testing.T) {
	var b bytes.Buffer
	log, closer, err := logging.New(logging.Options{Stderr: &b, Format: logging.JSON})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello", "n", 1)
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", b.String(), err)
	}
	if got["msg"] != "hello" || got["n"] != 1.0 || got["time"] == nil {
		t.Errorf("got %v", got)
	}
}

// auto logs as an auto-started reaper on a node without journald.
func auto(t *testing.T, file string, write func(*slog.Logger)) {
	t.Helper()
	log, closer, err := logging.New(logging.Options{
		Auto: true, File: file, JournalSocket: filepath.Join(t.TempDir(), "none"),
	})
	if err != nil {
		t.Fatal(err)
	}
	write(log)
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
}

func TestWithoutJournaldLinesGoToAPrivateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reaper.log")
	if err := os.WriteFile(file, []byte("from before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	auto(t, file, func(log *slog.Logger) { log.Info("hello", "n", 1) })
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), "from before\ntime=") || !strings.HasSuffix(string(got), "msg=hello n=1\n") {
		t.Errorf("got %q", got)
	}
	mode(t, file)
}

func TestTheFileIsRotatedAndOneOlderFileIsKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "reaper.log")
	for range 8 { // each fits in the queue
		auto(t, file, func(log *slog.Logger) {
			for range 16 { // 512 KiB
				log.Info(strings.Repeat("x", 32<<10))
			}
		})
	}
	// Older ones are removed in the background.
	nstest.Eventually(t, 30e9, "one log file and one older one", func() bool {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries) == 2
	})
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Size() > 1<<20 {
			t.Errorf("%s has %d bytes", path, fi.Size())
		}
		mode(t, path)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func mode(t *testing.T, path string) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Mode(); got != 0o600 {
		t.Errorf("%s has mode %v", path, got)
	}
}

func TestNewErrors(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		name string
		opts logging.Options
		want string
	}{
		{"the format is unknown", logging.Options{Format: "xml"}, `unknown log format "xml": use "text" or "json"`},
		{"no journald and no file name", logging.Options{Auto: true, JournalSocket: none}, "connect to journald: connect " + none + ": no such file or directory"},
		{"no journald and no directory", logging.Options{Auto: true, JournalSocket: none, File: none + "/log"}, "open log file: open " + none + "/log: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := logging.New(tt.opts)
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestTraceWritesOneWarningToTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reaper.log")
	if err := logging.Trace(file, "reaper exits", "error", "bad value"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(got), "level=WARN msg=\"reaper exits\" error=\"bad value\"\n") {
		t.Errorf("got %q", got)
	}
	mode(t, file)
	if err := logging.Trace(file+"/none", "reaper exits"); err == nil {
		t.Error("no error where there can be no file")
	}
}

// Root's reaper must not append to a file that another user chose, nor wait for the reader of a FIFO.
func TestOnlyARegularFileIsTheLog(t *testing.T) {
	const text = "untouched"
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, create := range map[string]func(path string) error{
		"a symbolic link": func(path string) error { return os.Symlink(target, path) },
		"a FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "reaper.log")
			if err := create(file); err != nil {
				t.Fatal(err)
			}
			if _, closer, err := logging.New(logging.Options{Auto: true, File: file, JournalSocket: file + ".none"}); err == nil {
				closer.Close()
				t.Error("New logs to it")
			}
			if err := logging.Trace(file, "reaper exits"); err == nil {
				t.Error("Trace writes to it")
			}
		})
	}
	info, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != text || info.Mode() != 0o644 {
		t.Errorf("the link's target has %q, %v, %v", got, info.Mode(), err)
	}
}
