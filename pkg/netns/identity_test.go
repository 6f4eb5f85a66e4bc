// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/netns"
)

func TestSame(t *testing.T) {
	base := netns.Identity{Cookie: 7, Dev: 4, Inode: 4026531840}
	with := func(change func(*netns.Identity)) netns.Identity {
		id := base
		change(&id)
		return id
	}
	for _, tc := range []struct {
		name string
		a, b netns.Identity
		want bool
	}{
		{"an identity is the same as itself", base, base, true},
		{"an unknown cookie is no difference", base, with(func(id *netns.Identity) { id.Cookie = 0 }), true},
		{"another cookie is a reused inode", base, with(func(id *netns.Identity) { id.Cookie = 8 }), false},
		{"another inode is another namespace", base, with(func(id *netns.Identity) { id.Inode++ }), false},
		{"another device is another namespace", base, with(func(id *netns.Identity) { id.Dev++ }), false},
		{"no identity is the same as none", netns.Identity{}, netns.Identity{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.a.Same(tc.b) != tc.want || tc.b.Same(tc.a) != tc.want {
				t.Errorf("Same(%v, %v) is not %v both ways", tc.a, tc.b, tc.want)
			}
		})
	}
}

func TestIdentityText(t *testing.T) {
	id := netns.Identity{Cookie: 1<<64 - 1, Dev: 4, Inode: 4026531840}
	if diff := cmp.Diff("net:[4026531840] cookie 18446744073709551615", id.String()); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
	data, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"cookie":18446744073709551615,"dev":4,"inode":4026531840}`, string(data)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var back netns.Identity
	if err := json.Unmarshal(data, &back); err != nil || back != id {
		t.Errorf("read back %v, %v, want %v", back, err, id)
	}
}
