// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/doctor"
)

// has fails the test unless the report has such a finding.
func has(t *testing.T, r doctor.Report, check string, level doctor.Level, what string) doctor.Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == check && f.Level == level && strings.Contains(f.What, what) {
			return f
		}
	}
	t.Errorf("no %s %s with %q in\n%s", level, check, what, text(r))
	return doctor.Finding{}
}

// hasNone fails the test if a check ("" for any) has a finding of that level or worse.
func hasNone(t *testing.T, r doctor.Report, check string, level doctor.Level) {
	t.Helper()
	for _, f := range r.Findings {
		if (check == "" || f.Check == check) && f.Level >= level {
			t.Errorf("unexpected finding: %s %s: %s", f.Level, f.Check, f.What)
		}
	}
}

// childTables is the finding about the connection tables. Its level depends on the machine's speed and its number of
// sockets, because the table belongs to the machine.
func childTables(t *testing.T, r doctor.Report) doctor.Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == "child-tables" && (f.Level == doctor.Info || f.Level == doctor.Warn) {
			return f
		}
	}
	t.Fatalf("no finding about child tables in\n%s", text(r))
	return doctor.Finding{}
}

func text(r doctor.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n    do: %s\n", f.Level, f.Check, f.What, f.Do)
	}
	return b.String()
}

func TestWithEveryPrivilegeEverythingIsTried(t *testing.T) {
	r := examine(t, patient{StateDir: t.TempDir()}.command(t), func() {})
	hasNone(t, r, "", doctor.Fail)
	has(t, r, "sock-destroy", doctor.OK, "SOCK_DESTROY works: it destroyed a connection created for this test")
	has(t, r, "capabilities", doctor.OK, "CAP_SYS_ADMIN and CAP_NET_ADMIN are held")
	has(t, r, "netns-entry", doctor.OK, "")
	has(t, r, "owners", doctor.OK, "visible processes can be listed")
	has(t, r, "process-access", doctor.OK, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are held")
	has(t, r, "peers", doctor.OK, "pidfd_getfd works")
	has(t, r, "netns-cookie", doctor.OK, "")
	has(t, r, "pid-namespace", doctor.Warn, "") // the test's node has its own
	if f := childTables(t, r); !strings.Contains(f.What, "250 namespaces with the default grace") || !strings.Contains(f.Do, "as measured here") {
		t.Errorf("child tables were not measured: %s: %s", f.What, f.Do)
	}
	if got := r.Worst(); got != doctor.Warn {
		t.Errorf("the worst level is %v", got)
	}
}

func TestLevelsAndReportsCanBeReadBack(t *testing.T) {
	in := doctor.Report{Findings: []doctor.Finding{
		{ID: "a", Check: "a", Level: doctor.OK, What: "w"}, {ID: "b", Check: "b", Level: doctor.Fail, What: "w", Do: "d"}, {ID: "c/x", Check: "c", Level: doctor.Warn, What: "w", Do: "d"},
	}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"level":"fail","version":{"version":"","commit":"","go":"","platform":""},"findings":[{"id":"a","check":"a","level":"ok","what":"w"},` +
		`{"id":"b","check":"b","level":"fail","what":"w","do":"d"},{"id":"c/x","check":"c","level":"warn","what":"w","do":"d"}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var out doctor.Report
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var l doctor.Level
	if err := l.UnmarshalText([]byte("bad")); err == nil {
		t.Error("bad is accepted as a level")
	}
}
