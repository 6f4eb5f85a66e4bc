// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestAdoptWritesARecordOnlyWhereThereIsNone(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	for _, want := range []bool{true, false} {
		if written, err := s.Adopt(r); written != want || err != nil {
			t.Errorf("written %v, %v, want %v", written, err, want)
		}
	}
	adopted, err := s.Get(r.Attachment)
	if err != nil || !adopted.Adopted {
		t.Errorf("got %+v, %v", adopted, err)
	}
	put(t, s, r) // an ADD
	if l := list(t, s); len(l.Records) != 1 || l.Records[0].Adopted || len(l.Problems) > 0 {
		t.Errorf("after an ADD: %+v", l)
	}
	if written, err := s.Adopt(r); written || err != nil {
		t.Errorf("over an ADD's record: %v, %v", written, err)
	}
	if err := s.Remove(adopted); err != nil || len(list(t, s).Records) != 1 {
		t.Errorf("the removal of the adopted record removes the ADD's: %v", err)
	}
	if written, err := s.Adopt(record(t, "d", "eth0")); !written || err != nil {
		t.Errorf("another attachment: %v, %v", written, err)
	}
	if err := s.Delete(state.Attachment{ContainerID: "d", IfName: "eth0"}); err != nil || len(list(t, s).Records) != 1 {
		t.Errorf("a DEL leaves the adopted record: %v", err)
	}
}

func TestAnAdoptedRecordUnderTheNameOfAnADDIsDamaged(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	if _, err := s.Adopt(r); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(s.AttachmentsDir() + "/*:adopted.json")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.Rename(names[0], strings.Replace(names[0], ":adopted", "", 1)); err != nil {
		t.Fatal(err)
	}
	if l := list(t, s); len(l.Records) > 0 || len(l.Holds) != 1 || !errors.Is(l.Problems[0].Err, state.ErrInvalid) {
		t.Errorf("got %+v, want its netns held at observe", l)
	}
}
