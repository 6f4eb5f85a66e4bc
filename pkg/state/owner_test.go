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

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// unsafe is the owner and mode of a directory that another user can write to, and the remedy in the error.
type unsafe struct {
	uid    int
	mode   fs.FileMode
	remedy string
}

func unsafeDirs() map[string]unsafe {
	return map[string]unsafe{
		"of another user":         {65534, 0o700, "chown root: "},
		"writable by its group":   {0, 0o770, "chmod go-w "},
		"writable by all":         {0, 0o707, "chmod go-w "},
		"sticky, writable by all": {0, 0o777 | fs.ModeSticky, "chmod go-w "},
	}
}

// make changes the owner and mode of a directory for the rest of the test.
func (u unsafe) make(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.Chmod(dir, u.mode), os.Chown(dir, u.uid, -1)); err != nil {
		nstest.NeedPrivilege(t, "give a directory to another user", err)
	}
	if err := os.Chmod(dir, u.mode); err != nil {
		t.Fatal(err)
	}
}

// check fails the test unless err has the directory and the remedy.
func (u unsafe) check(t *testing.T, verb, dir string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*state.UnsafeDirError](err); !ok || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), u.remedy+dir) {
		t.Errorf("%s: %v, want an error with %q", verb, err, u.remedy+dir)
	}
}

func TestADirectoryThatAnotherUserCanWriteToIsRefused(t *testing.T) {
	for name, u := range unsafeDirs() {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			old := record(t, "c", "eth0")
			put(t, s, old)
			u.make(t, s.Dir())
			text := content(t, s, old.Attachment)
			changed := old
			changed.Network = "other"
			_, listErr := s.List(t.Context())
			_, getErr := s.Get(old.Attachment)
			for verb, err := range map[string]error{
				"CheckDir": state.CheckDir(s.Dir()), "Put": s.Put(changed), "Put of another": s.Put(record(t, "d", "eth0")),
				"List": listErr, "Get": getErr, "Probe": s.Probe(), "Prune": s.Prune(file("c@eth0")),
			} {
				u.check(t, verb, s.Dir(), err)
			}
			if got := content(t, s, old.Attachment); got != text {
				t.Errorf("the record was changed: %s", got)
			}
			if err := s.Delete(old.Attachment); err != nil {
				t.Errorf("Delete: %v", err)
			}
			if got := names(t, s); len(got) > 0 {
				t.Errorf("%v is left", got)
			}
		})
	}
}

func TestADirectoryOfRecordsOfAnotherUserIsRefused(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	put(t, s, r)
	u := unsafeDirs()["of another user"]
	u.make(t, s.AttachmentsDir())
	_, err := s.List(t.Context())
	u.check(t, "List", s.AttachmentsDir(), err)
	u.check(t, "Put", s.AttachmentsDir(), s.Put(r))
}

func TestADirectoryOfTheProcessesOwnUserIsUsed(t *testing.T) {
	s := newStore(t)
	put(t, s, record(t, "c", "eth0"))
	if err := state.CheckDir(s.Dir()); err != nil {
		t.Error(err)
	}
	if err := state.CheckDir(filepath.Join(s.Dir(), "absent")); err != nil {
		t.Errorf("an absent directory: %v", err)
	}
}

// The switch of such a directory counts as unreadable, which is observe.
func TestASwitchThatAnotherUserCanReplaceIsRefused(t *testing.T) {
	for name, u := range unsafeDirs() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "mode")
			if err := state.StoreSwitch(path, state.Switch{Mode: policy.Destroy}); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			u.make(t, dir)
			_, set, err := state.LoadSwitch(path)
			if set {
				t.Error("the switch was read")
			}
			u.check(t, "LoadSwitch", dir, err)
			u.check(t, "StoreSwitch", dir, state.StoreSwitch(path, state.Switch{Mode: policy.Off}))
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the switch was changed to %q, %v", after, err)
			}
		})
	}
}
