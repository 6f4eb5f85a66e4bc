// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestAKillBetweenAnyTwoSystemCallsLeavesWholeRecords kills a process before each change of a file that an operation makes.
func TestAKillBetweenAnyTwoSystemCallsLeavesWholeRecords(t *testing.T) {
	t.Parallel()
	old, other := record(t, "c", "eth0"), record(t, "other", "eth0")
	changed, moved := old, old
	changed.Warnings, changed.Time = []string{"a new warning"}, old.Time.Add(time.Hour)
	moved.Netns.Inode, moved.Netns.Cookie, moved.Time = 4026532999, 1<<63+9, old.Time.Add(time.Hour)
	adopted := old
	adopted.Adopted = true
	for _, tt := range []struct {
		name     string
		op       string
		before   []state.Record
		record   state.Record
		possible [][]state.Record // beside other; the last one is the result
	}{
		{"the first record", "put", nil, old, [][]state.Record{{}, {old}}},
		{"a changed record", "put", []state.Record{old}, changed, [][]state.Record{{old}, {changed}}},
		{"a record of another netns", "put", []state.Record{old}, moved, [][]state.Record{{old}, {moved, old}, {moved}}},
		{"an adopted record", "adopt", nil, old, [][]state.Record{{}, {adopted}}},
		{"a deletion", "delete", []state.Record{old}, old, [][]state.Record{{old}, {}}},
		{"a deletion of all that share a netns", "sharing", []state.Record{old}, old, [][]state.Record{{old}, {}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s *state.Store
			kills := 0
			inject.KillBeforeEach(t, func() (*exec.Cmd, string) {
				s = newStore(t)
				if kills++; kills > 1 { // the first one creates the directories
					put(t, s, other)
				}
				put(t, s, tt.before...)
				return operate(t, order{Dir: s.Dir(), Op: tt.op, Record: tt.record}), s.Dir()
			}, func(before string) {
				l := list(t, s)
				if len(l.Problems) > 0 || len(l.Holds) > 0 {
					t.Errorf("killed before %s: problems %v, holds %v", before, l.Problems, l.Holds)
				}
				if !hasRecords(l, other, tt.possible) {
					t.Errorf("killed before %s: the records are %+v", before, l.Records)
				}
				// The operation can be repeated, and no temporary file stays.
				if err := (order{Dir: s.Dir(), Op: tt.op, Record: tt.record}).execute(); err != nil {
					t.Errorf("killed before %s: repeated: %v", before, err)
				}
				if l := list(t, s); !hasRecords(l, other, tt.possible[len(tt.possible)-1:]) {
					t.Errorf("killed before %s: repeated: the records are %+v", before, l.Records)
				}
				for _, name := range names(t, s) {
					if strings.HasPrefix(name, ".") {
						age(t, s.AttachmentsDir()+"/"+name, time.Hour)
					}
				}
				if err := s.Prune(); err != nil {
					t.Error(err)
				}
				for _, name := range names(t, s) {
					if !strings.HasSuffix(name, ".json") || strings.HasPrefix(name, ".") {
						t.Errorf("killed before %s: %q stays", before, name)
					}
				}
			})
		})
	}
}

// hasRecords reports whether the listing has one of the possible lists of records, with or without other.
func hasRecords(l state.Listing, other state.Record, possible [][]state.Record) bool {
	var got []state.Record
	for _, r := range l.Records {
		if r.ContainerID != other.ContainerID {
			got = append(got, r)
		}
	}
	for _, want := range possible {
		same := len(want) == len(got)
		for _, w := range want {
			found := false
			for _, g := range got {
				found = found || equal(w, g)
			}
			same = same && found
		}
		if same {
			return true
		}
	}
	return false
}

// operate prepares a process that executes an operation.
func operate(t *testing.T, o order) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envOrder+"="+string(text))
	return cmd
}

func TestAKillBetweenAnyTwoSystemCallsLosesNoSwitch(t *testing.T) {
	t.Parallel()
	pod := state.Switch{Scope: state.Scope{Namespace: "shop", Pod: "cart-0"}, Mode: policy.Observe, Who: "a", When: time.Now().UTC().Round(0)}
	node := state.Switch{Mode: policy.Off, Who: "b", When: time.Now().UTC().Round(0)}
	var dir string
	inject.KillBeforeEach(t, func() (*exec.Cmd, string) {
		dir = t.TempDir()
		if err := state.StoreSwitch(state.SwitchPath(dir), pod); err != nil {
			t.Fatal(err)
		}
		return operate(t, order{Dir: dir, Op: "switch", Switch: node}), dir
	}, func(before string) {
		s, err := state.LoadSwitches(state.SwitchPath(dir))
		if err != nil || len(s.Scoped) != 1 || s.Scoped[0].Mode != policy.Observe || s.Node != nil && s.Node.Mode != policy.Off {
			t.Errorf("killed before %s: %+v, %v", before, s, err)
		}
		// The lock has ended with the process.
		if err := state.StoreSwitch(state.SwitchPath(dir), node); err != nil {
			t.Error(err)
		}
		if s, err := state.LoadSwitches(state.SwitchPath(dir)); err != nil || s.Node == nil || len(s.Scoped) != 1 {
			t.Errorf("killed before %s: stored again: %+v, %v", before, s, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			age(t, filepath.Join(dir, e.Name()), time.Hour)
		}
		if err := state.RemoveTemporaries(dir); err != nil {
			t.Error(err)
		}
		if entries, err = os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("killed before %s: %v, %v", before, entries, err)
		}
	})
}

func TestTemporaryFilesOfKilledProcessesAreRemovedAndNoOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone := []string{".new-17", ".candidates8148652413376050852", ".2026-11-30T13Z.ndjson2781848773695850111"}
	kept := []string{"candidates", ".candidates", ".new-", ".new-x", ".other12", ".candidatesx1", "candidates12", ".2026-11-30T13Z.ndjson"}
	young := ".new-18"
	for _, name := range append(append([]string{young}, gone...), kept...) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name != young {
			age(t, path, time.Hour)
		}
	}
	if err := state.RemoveTemporaries(dir, "candidates", "*.ndjson"); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{young}, kept...) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range gone {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s stays", name)
		}
	}
	if err := state.RemoveTemporaries(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}
