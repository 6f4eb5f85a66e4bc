// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// largestRule returns a rule with the most elements in each list, and the most bytes in each element.
func largestRule(n int) map[string]any {
	var peers, commands, ports, uids []string
	for i := range 16 {
		peers = append(peers, fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:%x:%x/128", 0x1000+n, 0x1000+i))
		ports = append(ports, fmt.Sprintf("%d-%d", 40000+200*n+2*i, 40001+200*n+2*i))
		uids = append(uids, fmt.Sprintf("%d-%d", 4000000000+200*n+2*i, 4000000001+200*n+2*i))
		commands = append(commands, fmt.Sprintf("%02d-%02d-%s", n, i, strings.Repeat("c", 58)))
	}
	const longest = "2562047h47m16.854775806s"
	return map[string]any{
		"match": map[string]any{
			"state": "CLOSE_WAIT", "role": "client", "localPorts": strings.Join(ports, ","), "peerPorts": strings.Join(ports, ","),
			"peers": strings.Join(peers, ","), "uids": strings.Join(uids, ","), "commands": commands,
		},
		"mode": "observe", "grace": longest, "closeWaitGrace": longest, "probeAfter": longest,
		"pendingGrace": longest, "clock": "progress", "above": 10000000,
	}
}

// The bound is close enough to the largest record that a hostile file costs little more than a record.
func TestTheLargestRecordFitsInAFile(t *testing.T) {
	var rules []any
	for n := range 64 {
		rules = append(rules, largestRule(n))
	}
	object, err := json.Marshal(map[string]any{"rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, "c", "eth0")
	r.Layers.Network = layer(t, string(object))
	r.Layers.Annotations = map[string]string{policy.AnnotationExempt: strings.Repeat(`"`, 256<<10)}
	r.Warnings = nil
	for range 96 {
		r.Warnings = append(r.Warnings, strings.Repeat("w", 512))
	}
	s := newStore(t)
	put(t, s, r)
	if diff := compare(state.Listing{Records: []state.Record{r}}, list(t, s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	size := len(content(t, s, r.Attachment))
	if size < state.MaxFileSize*9/10 {
		t.Errorf("it has %d bytes, and a file may have %d", size, state.MaxFileSize)
	}
	r.Warnings = append(r.Warnings, strings.Repeat("w", state.MaxFileSize-size))
	if err := s.Put(r); err == nil {
		t.Errorf("a larger record was written")
	}
	if diff := compare(1, len(list(t, s).Records)); diff != "" {
		t.Errorf("the record of before (-want +got)\n%s", diff)
	}
}

func TestAFileIsReadUpToItsBound(t *testing.T) {
	s := newStore(t)
	put(t, s, record(t, "c", "eth0"))
	text := content(t, s, record(t, "c", "eth0").Attachment)
	for name, tt := range map[string]struct {
		size  int
		valid bool
	}{"at the bound": {state.MaxFileSize, true}, "above it": {state.MaxFileSize + 1, false}} {
		t.Run(name, func(t *testing.T) {
			plant(t, s, file("c@eth0"), text+strings.Repeat(" ", tt.size-len(text)))
			l := list(t, s)
			if valid := len(l.Records) == 1; valid != tt.valid {
				t.Errorf("%+v, want a record: %v", l, tt.valid)
			}
			if !tt.valid && (len(l.Holds) != 1 || !errors.Is(l.Problems[0].Err, state.ErrInvalid)) {
				t.Errorf("%+v, want the netns held at observe", l)
			}
		})
	}
}

// expiring is a context that ends after some calls of its Err.
type expiring struct {
	context.Context
	left int
}

func (e *expiring) Err() error {
	if e.left == 0 {
		return context.DeadlineExceeded
	}
	e.left--
	return nil
}

func TestListReadsNoFileAfterItsContextEnds(t *testing.T) {
	s := newStore(t)
	for i := range 9 {
		plant(t, s, file(fmt.Sprintf("c%d@eth0", i)), "{}")
	}
	for left, want := range map[int]error{0: context.DeadlineExceeded, 5: context.DeadlineExceeded, 100: nil} {
		ctx := &expiring{t.Context(), left}
		l, err := s.List(ctx)
		if !errors.Is(err, want) || (want != nil && len(l.Problems) > 0) {
			t.Errorf("with %d files before the end: %d problems, %v, want %v", left, len(l.Problems), err, want)
		}
	}
}
