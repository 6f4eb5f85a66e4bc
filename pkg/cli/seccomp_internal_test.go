// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/deploy/seccomp"
)

func TestTheSeccompProfilesAreWrittenForTheRuntime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seccomp") // the kubelet creates none
	for range 2 {
		if err := writeProfiles(dir); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "halfclose"))
	if err != nil || len(entries) != len(seccomp.Names()) {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	for _, name := range seccomp.Names() {
		path := filepath.Join(dir, "halfclose", name+".json")
		want, err := seccomp.File(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v\n%s", path, err, got)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestAProfileThatCannotBeWrittenLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "halfclose", "installer.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeProfiles(dir); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "halfclose")); err != nil || len(entries) != 1 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
}
