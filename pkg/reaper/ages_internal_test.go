// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestAgeBucketHasSocketsYoungerThanItsBound(t *testing.T) {
	bounds := api.AgeBounds()
	for _, tt := range []struct {
		age    time.Duration
		bucket int
	}{
		{0, 0},
		{time.Minute - 1, 0},
		{time.Minute, 1},
		{5*time.Minute - 1, 1},
		{5 * time.Minute, 2},
		{15 * time.Minute, 3},
		{time.Hour - 1, 3},
		{time.Hour, 4},
		{1000 * time.Hour, 4},
		{-time.Second, 0}, // the clock of another processor
	} {
		var got, want api.AgeCounts
		got.Add(tt.age, tt.age > time.Minute, &bounds)
		want.Sockets[tt.bucket] = 1
		if tt.age > time.Minute {
			want.Overdue[tt.bucket] = 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got)\n%s", tt.age, diff)
		}
	}
}

func TestStatusCountsAgesByStateAndNamespace(t *testing.T) {
	l, first := newTestLoop(t, policy.Observe)
	l.finder.Name = "sockdiag"
	second, idle := newRegistered(2), newRegistered(3)
	l.registry.namespaces[second.Identity], l.registry.namespaces[idle.Identity] = second, idle
	at := now()
	// The graces are 20 s.
	for i, seen := range []struct {
		ns     *registered
		age    time.Duration
		state  inetdiag.State
		orphan bool
	}{
		{ns: first, age: time.Second, state: inetdiag.CloseWait},
		{ns: first, age: 30 * time.Second, state: inetdiag.CloseWait},
		{ns: first, age: 2 * time.Minute, state: inetdiag.CloseWait},
		{ns: first, age: 2 * time.Minute, state: inetdiag.FinWait2},
		{ns: first, age: 2 * time.Minute, state: inetdiag.FinWait2, orphan: true},
		{ns: second, age: 2 * time.Second, state: inetdiag.CloseWait},
	} {
		look := seenAt(uint64(i+1), seen.age, at)
		look.Socket.State = seen.state
		if seen.orphan {
			look.Socket.Inode = 0
		}
		look.Entered = max(at.Add(-seen.age), 1)
		l.tracker.seen(seen.ns, look, at)
	}

	s := wholeStatus(l)
	want := api.Ages{
		CloseWait: api.AgeCounts{Sockets: [...]int{3, 1, 0, 0, 0}, Overdue: [...]int{1, 1, 0, 0, 0}},
		FinWait2:  api.AgeCounts{Sockets: [...]int{0, 1, 0, 0, 0}, Overdue: [...]int{0, 1, 0, 0, 0}},
	}
	if diff := cmp.Diff(want, s.Ages); diff != "" {
		t.Errorf("of the node (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"CLOSE_WAIT": 4, "FIN_WAIT2": 1}, s.Candidates); diff != "" {
		t.Errorf("candidates (-want +got)\n%s", diff)
	}
	var total api.Ages
	none := 0
	for _, a := range s.Attachments {
		total.Merge(&a.Ages)
		if diff := cmp.Diff(a.Ages.Totals(), a.Candidates); diff != "" {
			t.Errorf("an attachment has other candidates than ages (-ages +candidates)\n%s", diff)
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var shape map[string]any
		if err := json.Unmarshal(b, &shape); err != nil {
			t.Fatal(err)
		}
		if _, ok := shape["ages"]; !ok {
			none++
		}
	}
	if total != want || none != 1 {
		t.Errorf("of the attachments together: %+v; %d of them say nothing of ages, want 1", total, none)
	}

	b, err := json.Marshal(struct {
		Bounds []api.Seconds `json:"ageBoundsSeconds"`
		Ages   api.Ages      `json:"ages"`
	}{s.AgeBounds, s.Ages})
	if err != nil {
		t.Fatal(err)
	}
	const shape = `{"ageBoundsSeconds":[60.000,300.000,900.000,3600.000],"ages":{` +
		`"CLOSE_WAIT":{"sockets":[3,1,0,0,0],"overdue":[1,1,0,0,0]},"FIN_WAIT2":{"sockets":[0,1,0,0,0],"overdue":[0,1,0,0,0]}}}`
	if diff := cmp.Diff(shape, string(b)); diff != "" {
		t.Errorf("as JSON (-want +got)\n%s", diff)
	}
}
