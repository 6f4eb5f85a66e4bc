// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestPruneDeletesTheNamedFilesOnly(t *testing.T) {
	s := newStore(t)
	if err := s.Prune(file("c@eth0")); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	put(t, s, record(t, "inert", "eth0"), record(t, "stays", "eth0"))
	plant(t, s, file("broken@eth0"), "{")
	plant(t, s, "stays too", "")
	if err := os.Symlink("/etc/hostname", plantPath(t, s, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(plantPath(t, s, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(s.Dir(), "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Prune("dir", "", ".", "..", "../precious", precious, file("absent@eth0"), file("inert@eth0"), file("broken@eth0"), "link")
	for _, bad := range []string{`"dir"`, `""`, `"."`, `".."`, `"../precious"`} {
		if err == nil || !strings.Contains(err.Error(), "prune "+bad) {
			t.Errorf("error %v, want it to name %s", err, bad)
		}
	}
	if err != nil && strings.Contains(err.Error(), "absent") {
		t.Errorf("error %v, want none about what is not there", err)
	}
	if diff := compare([]string{"dir", "stays too", file("stays@eth0")}, names(t, s)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("outside of the directory: %v", err)
	}
}

// interrupt leaves the file of a Put that is killed before its rename.
func interrupt(t *testing.T, s *state.Store, text string) string {
	t.Helper()
	if err := os.MkdirAll(s.AttachmentsDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.AttachmentsDir(), state.TemporaryName(rand.Int64()))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPutThatIsInterruptedLeavesTheOldRecord(t *testing.T) {
	s := newStore(t)
	old, next := record(t, "c", "eth0"), record(t, "c", "eth0")
	next.Warnings = []string{"another"}
	put(t, s, next)
	text := content(t, s, next.Attachment)
	put(t, s, old)
	for _, written := range []int{0, 1, len(text) / 2, len(text)} {
		interrupt(t, s, text[:written])
		if diff := compare(state.Listing{Records: []state.Record{old}}, list(t, s)); diff != "" {
			t.Errorf("%d bytes written: List (-want +got):\n%s", written, diff)
		}
	}
	put(t, s, next)
	if diff := compare(state.Listing{Records: []state.Record{next}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestPruneDeletesTheTemporaryFilesOfDeadWriters(t *testing.T) {
	s := newStore(t)
	put(t, s, record(t, "c", "eth0"))
	for _, by := range []time.Duration{11 * time.Minute, 200 * 365 * 24 * time.Hour} {
		age(t, interrupt(t, s, "{"), by)
	}
	young := filepath.Base(interrupt(t, s, "{"))
	// Not a Put's: another program may have made them.
	age(t, plant(t, s, ".c@eth0.json", ""), time.Hour)
	age(t, plant(t, s, ".hidden", ""), time.Hour)
	if err := s.Prune(); err != nil {
		t.Fatal(err)
	}
	if diff := compare([]string{".c@eth0.json", ".hidden", young, file("c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
