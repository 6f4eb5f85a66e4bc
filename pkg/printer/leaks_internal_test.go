// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// explanationOf returns an explanation of sockets and entries.
func explanationOf() Explanation {
	list := apitest.Sockets()
	list[0].Rule, list[0].Role, list[0].AskIn = "rules[0], role client, network pods", policy.RoleClient, apitest.Seconds(12*time.Second)
	return Explanation{Policies: []api.EffectivePolicy{}, Sockets: list, Omitted: 300, History: apitest.Entries()}
}

func TestScreensOfLeaks(t *testing.T) {
	shows := map[string]func(*Printer) error{
		"leaks":   func(p *Printer) error { return p.PrintLeaks(new(apitest.Leaks())) },
		"explain": func(p *Printer) error { return p.PrintExplanation(new(explanationOf()), true) },
	}
	for name, show := range shows {
		golden.Text(t, name, shown(t, show))
		for _, width := range []int{20, 40, 60, 80, 100, 132, 200, 400} {
			got := shownAt(t, width, show)
			termtest.CheckWidth(t, width, got)
			if strings.ContainsAny(got, "\x1b\t\a\u202e") {
				t.Errorf("%s has control characters:\n%q", name, got)
			}
		}
	}
	piped := shownAt(t, 0, shows["leaks"])
	table, _, _ := strings.Cut(piped, "4 smaller groups")
	if n := strings.Count(table, "\n"); n != 1+len(apitest.Leaks().Groups) {
		t.Errorf("in a pipe the table has %d lines:\n%s", n, table)
	}
}
