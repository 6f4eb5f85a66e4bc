// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSessionsAreTheConsoleBlocks(t *testing.T) {
	got, err := Sessions("# Title\n\n```console\n$ one\nout\n\nmore  \n$ cat <<END\n> text\n>   indented\n>\n> END\n$ three\n```\n\n    $ not this\n\n```sh\n$ nor this\n```\n```console\n$ four\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{Line: 4, Command: "one", Output: []string{"out", "", "more"}},
		{Line: 8, Command: "cat <<END\ntext\n  indented\n\nEND"},
		{Line: 13, Command: "three"},
		{Line: 22, Command: "four"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got)\n%s", diff)
	}
	for name, text := range map[string]string{
		"output before a command": "```console\nout\n```\n",
		"no end":                  "```console\n$ one\n",
	} {
		if _, err := Sessions(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPartsThatDifferInEachRunMatch(t *testing.T) {
	for _, tt := range []struct {
		name      string
		want, got []string
		same      bool
	}{
		{"nothing", nil, nil, true},
		{"ages", []string{"AGE  WHY", "10s  x"}, []string{"AGE     WHY", "1h2m3s  x"}, true},
		{"process ids and ports", []string{"10.0.0.1:443 python3[42]"}, []string{"10.0.0.1:50000 python3[4711]"}, true},
		{"times", []string{"at 2026-01-02T03:04:05Z"}, []string{"at 2027-11-12T13:14:15+02:00"}, true},
		{"times of this year", []string{"Jan  2 03:04:05  destroyed"}, []string{"Nov 12 13:14:15  destroyed"}, true},
		{"versions", []string{"version v1.2.3-4-gabcdef0-dirty"}, []string{"version 0123abc"}, true},
		{"a line that is wrapped elsewhere", []string{"a", "  b 2s;", "  c d"}, []string{"a", "  b 14.7s; c", "  d"}, true},
		{"a wrapped line with another word", []string{"a", "  b 2s;", "  c d"}, []string{"a", "  b 2s; c", "  e"}, false},
		{"another word", []string{"mode observe"}, []string{"mode destroy"}, false},
		{"another state", []string{"CLOSE_WAIT 1"}, []string{"FIN_WAIT2 1"}, false},
		{"an additional line", []string{"a"}, []string{"a", "b"}, false},
		{"a missing line", []string{"a", "b"}, []string{"a"}, false},
		{"anything between", []string{"a", "...", "z"}, []string{"a", "b", "c", "z"}, true},
		{"anything matches no line", []string{"a", "...", "z"}, []string{"a", "z"}, true},
		{"anything at the end", []string{"a", "..."}, []string{"a", "b"}, true},
		{"anything does not match a missing end", []string{"a", "...", "z"}, []string{"a", "b"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Match(tt.want, tt.got); got != tt.same {
				t.Errorf("Match returned %v, want %v", got, tt.same)
			}
		})
	}
}
