// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policy"
)

// rowsOf returns the rows of the first table below a heading of docs/judgement.md, each as its cells without backticks.
func rowsOf(t *testing.T, heading string) [][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/judgement.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no %q", heading)
	}
	var rows [][]string
	for line := range strings.Lines(strings.TrimSpace(section)) {
		if !strings.HasPrefix(line, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, "`", ""), "| \n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows[2:]
}

func TestDocumentedReasonsMatch(t *testing.T) {
	var documented, reasons []string
	for _, row := range rowsOf(t, "## Reasons") {
		documented = append(documented, row[0])
	}
	for _, r := range policy.Reasons() {
		reasons = append(reasons, r.String())
	}
	if diff := cmp.Diff(reasons, documented); diff != "" {
		t.Errorf("(-code +docs)\n%s", diff)
	}
	seen := map[string]bool{"below-threshold": true, "peer-spared": true}
	for _, heading := range []string{"## Sockets that no policy covers", "## The verdict"} {
		for _, row := range rowsOf(t, heading) {
			seen[row[1]] = true
		}
	}
	for _, r := range reasons {
		if !seen[r] {
			t.Errorf("no table says when the reason is %s", r)
		}
	}
}

func TestDocumentedDefaultsMatch(t *testing.T) {
	p := policy.Default()
	defaults := map[string]string{
		"mode": p.Mode.String(), "probeAfter": p.ProbeAfter.String(), "probeCount": fmt.Sprint(p.ProbeCount),
		"probeInterval": policy.FormatDuration(p.ProbeInterval), "grace": p.CloseWaitGrace.String(),
		"pendingGrace": p.PendingGrace.String(), "clock": p.Clock.String(),
	}
	if p.CloseWaitGrace != p.FinWait2Grace || len(p.Exempt)+len(p.Rules) > 0 {
		t.Errorf("the table has no room for %+v", p)
	}
	bounds := map[string]string{}
	for _, row := range rowsOf(t, "## Values") {
		bounds[row[0]] = row[2]
		if p := policy.Patience(0); p.UnmarshalText([]byte(row[1])) == nil {
			row[1] = p.String()
		}
		if want, ok := defaults[row[0]]; ok && row[1] != want {
			t.Errorf("%s is %s by default, documented is %s", row[0], want, row[1])
		}
		delete(defaults, row[0])
	}
	if len(defaults) > 0 {
		t.Errorf("not documented: %v", defaults)
	}

	number := func(row string) string { return regexp.MustCompile(`\d+`).FindString(bounds[row]) }
	for conf, want := range map[string]string{
		`{"probeCount": 128}`:                                                "is not from " + bounds["probeCount"],
		`{"probeInterval": "9999h"}`:                                         "is not a whole number of seconds from 1s to 9h6m7s",
		`{"rules": [{"match": {"role": "client"}, "above": 0}]}`:             "is not from " + bounds["above (rules)"],
		`{"exempt": [{"loopback": true}], "rules": [` + manyRules(64) + `]}`: "at most " + number("exempt and rules"),
		`{"exempt": [{"localPorts": "1` + many(",3", 16) + `"}]}`:            "at most " + number("ranges in one list of a match"),
		`{"exempt": [{"commands": ["` + many("x", 65) + `"]}]}`:              "the first " + number("compared bytes of a command") + " count",
	} {
		_, problems := policy.ParseNetwork([]byte(conf))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%.80s: got %v, documented is %q", conf, problems, want)
		}
	}
	if !strings.Contains(bounds["probeInterval"], "from 1s to 9h6m7s") {
		t.Errorf("probeInterval is documented as %s", bounds["probeInterval"])
	}
}
