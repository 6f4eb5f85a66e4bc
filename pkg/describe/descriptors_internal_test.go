// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestFindingsSayWhoHoldsDescriptors(t *testing.T) {
	t.Parallel()
	java := func(pid int) owners.Process { return owners.Process{PID: pid, Command: "java"} }
	pod := state.Pod{Namespace: "shop", Name: "web-1"}
	var s api.Status
	s.Descriptors = api.DescriptorsView{
		Held: 60, Holders: []api.DescriptorHolder{
			{Process: java(812), Pod: pod, Held: 48, Ended: 50},
			{Process: java(7), Held: 1, Ended: 1},
			{Process: java(8), Held: 1, Ended: 9},
			{Process: java(9), Held: 4, Ended: 9},
			{Process: java(10), Held: 6, Ended: 9},
		},
		NearLimit: []api.FileUse{{Process: java(812), Pod: pod, Open: 900, Limit: 1024}},
	}
	var got []string
	for _, f := range descriptorFindings(&s.Descriptors) {
		what, todo := f.Advice()
		if todo == "" {
			t.Errorf("%q has no advice", what)
		}
		got = append(got, what)
	}
	want := []string{
		"48 of 50 ended sockets are still held by java[812] of shop/web-1", "1 of 1 ended socket is still held by java[7]",
		"1 of 9 ended sockets is still held by java[8]", "10 more are held by 2 other processes",
		"java[812] of shop/web-1 has 900 of at most 1024 file descriptors open",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEachUnwritableFileHasAdviceAndADirectoryCoversItsFiles(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var s api.Status
	for _, name := range api.UnwritableNames() {
		s.Unwritable = []api.UnwritableView{{Name: name, Path: "/run/halfclose/" + name, Problem: "no space left on device", Since: since}}
		list := unwritableFindings(s.Unwritable)
		if len(list) != 1 {
			t.Fatalf("%s: %d findings", name, len(list))
		}
		what, todo := list[0].Advice()
		if !strings.HasPrefix(what, "no space left on device, since 2026-01-0") || !strings.Contains(todo, "df -i") || strings.HasPrefix(todo, "make ") {
			t.Errorf("%s: %q, %q", name, what, todo)
		}
	}
	s.Unwritable = []api.UnwritableView{
		{Name: api.UnwritableAttachments, Path: "/run/halfclose/attachments"},
		{Name: api.UnwritableCandidates, Path: "/run/halfclose/candidates"},
		{Name: api.UnwritablePersistent, Path: "/var/lib/halfclose"},
		{Name: api.UnwritableSwitch, Path: "/var/lib/halfclose/mode"},
		{Name: api.UnwritablePolicy, Path: "/elsewhere/policy"},
	}
	var names []string
	for _, f := range unwritableFindings(s.Unwritable) {
		names = append(names, f.Unwritable.Name)
	}
	if got := strings.Join(names, " "); got != "attachments persistent policy" {
		t.Errorf("findings of %s", got)
	}
}
