// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
)

// want is the expected content of one finding.
type want struct {
	check string
	level Level
	what  string // in What
	do    string // in Do
}

// expect checks findings in their order, and that each is well-formed.
func expect(t *testing.T, got []Finding, wants ...want) {
	t.Helper()
	wellFormed(t, got)
	if len(got) != len(wants) {
		t.Errorf("%d findings, want %d:\n%s", len(got), len(wants), lines(got))
		return
	}
	for i, w := range wants {
		f := got[i]
		if f.Check != w.check || f.Level != w.level || !strings.Contains(f.What, w.what) || !strings.Contains(f.Do, w.do) {
			t.Errorf("finding %d is\n%swant %s %s with %q and what to do with %q", i, lines(got[i:i+1]), w.level, w.check, w.what, w.do)
		}
	}
}

// wellFormed checks the fields that every finding must have.
func wellFormed(t *testing.T, findings []Finding) {
	t.Helper()
	complete(t, findings)
	ids := make(map[string]bool)
	for _, f := range identify(slices.Clone(findings)) {
		if ids[f.ID] || f.ID != f.Check && !strings.HasPrefix(f.ID, f.Check+"/") {
			t.Errorf("a finding's id is not unique, or not its check's: %+v", f)
		}
		ids[f.ID] = true
		for _, text := range []string{f.What, f.Do} {
			if strings.Contains(text, "%!") || strings.Contains(text, "<nil>") || strings.Contains(text, "  ") || strings.HasSuffix(text, ".") {
				t.Errorf("a finding is badly worded: %q", text)
			}
		}
	}
}

// complete checks that the findings are well-formed, with any content.
func complete(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Check == "" || f.What == "" || (f.Do != "") != (f.Level != OK) {
			t.Errorf("a finding lacks something, or is ok and says what to do: %+v", f)
		}
	}
}

func lines(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "  %s %s: %s\n    do: %s\n", f.Level, f.Check, f.What, f.Do)
	}
	return b.String()
}

// every capability.
const every capabilities = 1<<41 - 1

func without(list ...capability.Cap) capabilities {
	s := every
	for _, c := range list {
		s &^= 1 << c
	}
	return s
}

// root is a process that may do everything, on the host.
func root() process {
	return process{effective: every, bounding: every, userNS: onHost, pidNS: onHost, mountNS: onHost}
}
