// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package writelog_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/writelog"
)

func TestAFailureLastsUntilTheNextSuccess(t *testing.T) {
	t.Parallel()
	var l writelog.Log
	l.Expect("candidates", "mode")
	full, gone := errors.New("no space left on device"), errors.New("no such file or directory")
	start := time.Unix(1000, 0)
	for i, step := range []struct {
		name  string
		err   error
		isNew bool
	}{
		{"candidates", nil, false},
		{"candidates", full, true},
		{"candidates", gone, false},
		{"mode", full, true},
		{"mode", nil, true},
		{"asked", nil, false},
	} {
		if got := l.Report(step.name, "/run/halfclose/"+step.name, step.err, start.Add(time.Duration(i)*time.Minute)); got != step.isNew {
			t.Errorf("step %d: is new: %v, want %v", i, got, step.isNew)
		}
	}
	want := []writelog.Failure{{
		Name: "candidates", Path: "/run/halfclose/candidates", Err: gone.Error(), Since: start.Add(time.Minute), Errors: 2,
	}}
	if diff := cmp.Diff(want, l.Failures()); diff != "" {
		t.Errorf("failures (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]uint64{"candidates": 2, "mode": 1, "asked": 0}, l.Errors()); diff != "" {
		t.Errorf("errors (-want +got)\n%s", diff)
	}
}

func TestWithoutALogEachFailureIsNew(t *testing.T) {
	t.Parallel()
	var l *writelog.Log
	for range 2 {
		if !l.Report("mode", "/mode", errors.New("full"), time.Time{}) {
			t.Error("a failure is not new")
		}
	}
	if l.Failures() != nil || len(l.Errors()) != 0 || l.Report("mode", "/mode", nil, time.Time{}) {
		t.Error("it remembers an outcome")
	}
}
