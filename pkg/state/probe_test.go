// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestProbeLeavesNothingBehind(t *testing.T) {
	top := t.TempDir()
	s := state.New(filepath.Join(top, "run", "halfclose"))
	if err := s.Probe(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(top); err != nil || len(entries) > 0 {
		t.Errorf("there is %v (%v) now, want nothing", entries, err)
	}
	put(t, s, record(t, "c", "eth0"))
	if err := s.Probe(); err != nil {
		t.Error(err)
	}
	if diff := compare([]string{file("c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// access(2) reports to root that it may write in these.
func TestProbeFailsIfNoFileCanBeCreated(t *testing.T) {
	for _, dir := range []string{"/proc", "/proc/self", "/sys"} {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := state.New(filepath.Join(dir, "halfclose")).Probe()
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("in %s: %v, want an error that names it", dir, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{link, filepath.Join(link, "below")} {
		s := state.New(dir)
		if putErr := s.Put(record(t, "c", "eth0")); putErr == nil {
			t.Fatalf("Put in %s went well", dir)
		}
		if err := s.Probe(); err == nil {
			t.Errorf("in %s, which leads nowhere: no error", dir)
		}
	}
}

func TestProbeFailsOnAFullFileSystem(t *testing.T) {
	for name, tt := range map[string]struct {
		options string
		fill    func(dir string) error
	}{
		"for the file":     {"mode=700,size=1m,nr_inodes=2", func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) }},
		"for what it says": {"mode=700,size=4k", func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mountTmpfs(t, tt.options)
			s := state.New(dir)
			if err := s.Probe(); err != nil {
				t.Errorf("while there is room: %v", err)
			}
			if err := tt.fill(dir); err != nil {
				t.Fatal(err)
			}
			if err := s.Probe(); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("Probe = %v, want ENOSPC", err)
			}
		})
	}
}
