// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The umask is the process's: none of these tests may be parallel.
func TestFilesAndDirectoriesArePrivateRegardlessOfTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		t.Run(fmt.Sprintf("umask %#o", umask), func(t *testing.T) {
			above := t.TempDir()
			s := state.New(filepath.Join(above, "halfclose"))
			old := syscall.Umask(umask)
			err := s.Put(record(t, "c", "eth0"))
			switchErr := state.StoreSwitch(filepath.Join(above, "lib", "mode"), state.Switch{Mode: policy.Observe})
			syscall.Umask(old)
			if err := errors.Join(err, switchErr); err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]fs.FileMode{
				s.Dir(): 0o700, s.AttachmentsDir(): 0o700, filepath.Join(s.AttachmentsDir(), file("c@eth0")): 0o600,
				filepath.Join(above, "lib"): 0o700, filepath.Join(above, "lib", "mode"): 0o600,
			} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has mode %v, want %v", path, got, want)
				}
			}
		})
	}
}

func TestAnExistingDirectoryKeepsItsMode(t *testing.T) {
	s := state.New(t.TempDir())
	for _, dir := range []string{s.Dir(), s.AttachmentsDir()} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	file := plant(t, s, file("c@eth0"), "")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	put(t, s, record(t, "c", "eth0"))
	for path, want := range map[string]fs.FileMode{
		s.Dir():            0o755, // perhaps not ours: an operator may have configured /run
		s.AttachmentsDir(): 0o700,
		file:               0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
}

func TestAReadOnlyDirectoryIsAnError(t *testing.T) {
	dir := mountTmpfs(t, "mode=700,size=1m")
	s := state.New(dir)
	old, fresh := record(t, "c", "eth0"), record(t, "d", "eth0")
	put(t, s, old)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for verb, err := range map[string]error{
		"Put": s.Put(fresh), "Put again": s.Put(old), "Delete": s.Delete(old.Attachment), "Prune": s.Prune(file("c@eth0")),
		"Put below": state.New(filepath.Join(dir, "sub")).Put(fresh), "Probe": s.Probe(),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s = %v, want EROFS", verb, err)
		}
	}
	if err := s.Delete(fresh.Attachment); err != nil && !errors.Is(err, unix.EROFS) {
		t.Errorf("Delete of nothing: %v", err)
	}
	if diff := compare(state.Listing{Records: []state.Record{old}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestAFullFileSystemKeepsTheOldRecord(t *testing.T) {
	dir := mountTmpfs(t, "mode=700,size=64k")
	s := state.New(dir)
	old := record(t, "c", "eth0")
	put(t, s, old)
	larger := old
	larger.Warnings = []string{strings.Repeat("w", 128<<10)}
	if err := s.Put(larger); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Put = %v, want ENOSPC", err)
	}
	if diff := compare(state.Listing{Records: []state.Record{old}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if diff := compare([]string{file("c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestAnotherFileAtTheDirectorysPathIsAnError(t *testing.T) {
	file, fifo, held := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "fifo"), t.TempDir()
	err := errors.Join(os.WriteFile(file, nil, 0o600), unix.Mkfifo(fifo, 0o600), // which waits for its other end
		unix.Mkfifo(state.New(held).AttachmentsDir(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, "c", "eth0")
	for _, dir := range []string{file, filepath.Join(file, "below"), fifo, filepath.Join(fifo, "below"), held} {
		s := state.New(dir)
		_, getErr := s.Get(r.Attachment)
		_, listErr := s.List(t.Context())
		for verb, err := range map[string]error{
			"Put": s.Put(r), "Get": getErr, "Delete": s.Delete(r.Attachment), "List": listErr, "Prune": s.Prune(),
			"Probe": s.Probe(),
		} {
			if err == nil || !strings.Contains(err.Error(), "not a directory") {
				t.Errorf("%s in %s = %v, want an error that says that it is not a directory", verb, dir, err)
			}
		}
	}
}

func TestADirectoryOfRecordsThatLeadsElsewhereIsRefused(t *testing.T) {
	elsewhere := t.TempDir()
	if err := os.Chmod(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	s := state.New(t.TempDir())
	if err := os.Symlink(elsewhere, s.AttachmentsDir()); err != nil {
		t.Fatal(err)
	}
	r := record(t, "c", "eth0")
	plant(t, s, file("c@eth0"), "precious")
	_, listErr := s.List(t.Context())
	for verb, err := range map[string]error{
		"Put": s.Put(r), "Delete": s.Delete(r.Attachment), "List": listErr, "Prune": s.Prune(file("c@eth0")), "Probe": s.Probe(),
	} {
		if err == nil {
			t.Errorf("%s: no error", verb)
		}
	}
	info, err := os.Stat(elsewhere)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the other directory has mode %v (%v) now, want it untouched", info.Mode(), err)
	}
	if diff := compare([]string{file("c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("names there (-want +got):\n%s", diff)
	}
}
