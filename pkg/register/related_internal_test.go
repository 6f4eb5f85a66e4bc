// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"slices"
	"testing"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// manualRecord returns a registration. cookie identifies the namespace.
func manualRecord(name, path string, cookie uint64) state.Record {
	return state.Record{
		Network: state.ManualNetwork, Attachment: state.ManualAttachment(name), Boot: "this",
		Netns: state.Netns{Path: path, Identity: netns.Identity{Cookie: cookie, Dev: 4, Inode: 1000 + cookie}},
	}
}

func cniRecord(name, path string, cookie uint64) state.Record {
	r := manualRecord(name, path, cookie)
	r.Network, r.IfName = "pods", "eth0"
	r.Pod = state.Pod{Namespace: "shop", Name: name}
	return r
}

func ids(records []state.Record) []string {
	list := []string{}
	for _, r := range records {
		list = append(list, r.ContainerID)
	}
	return list
}

func TestARegistrationReplacesThoseOfItsNamespace(t *testing.T) {
	old := manualRecord("web", "/run/netns/web", 9)
	old.Boot = "before"
	for _, tt := range []struct {
		name             string
		others           []state.Record
		dead             bool // the namespaces of the others are gone
		replaced, shared []string
		wantErr          string
	}{
		{name: "no related record", others: []state.Record{manualRecord("db", "/run/netns/db", 2), cniRecord("x", "/run/netns/x", 3)}},
		{name: "the same namespace", others: []state.Record{manualRecord("web", "/run/netns/web", 1)}, replaced: []string{"web"}},
		{name: "the same namespace by another name and path", others: []state.Record{manualRecord("pid-1", "/proc/1/ns/net", 1)}, replaced: []string{"pid-1"}},
		{name: "the previous namespace at the path", others: []state.Record{manualRecord("other", "/run/netns/web", 2)}, dead: true, replaced: []string{"other"}},
		{name: "a record of another boot", others: []state.Record{old}, replaced: []string{"web"}},
		{name: "another namespace with the name", others: []state.Record{manualRecord("web", "/srv/web", 2)}, wantErr: "web is the name of another registration, of /srv/web: choose another with --name"},
		{name: "a dead namespace with the name", others: []state.Record{manualRecord("web", "/srv/web", 2)}, dead: true, replaced: []string{"web"}},
		{name: "also recorded by CNI", others: []state.Record{cniRecord("pod", "/run/netns/cni-1", 1)}, shared: []string{"pod"}},
		{name: "recorded by CNI in another boot", others: []state.Record{func() state.Record { r := cniRecord("pod", "/x", 1); r.Boot = "before"; return r }()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findRelated(tt.others, manualRecord("web", "/run/netns/web", 1), func(state.Record) bool { return !tt.dead })
			if tt.wantErr != "" {
				if err == nil || err.Error() != tt.wantErr {
					t.Errorf("got %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !slices.Equal(ids(got.Replaced), tt.replaced) || !slices.Equal(ids(got.Shared), tt.shared) {
				t.Errorf("replaced %v, shared %v, %v; want %v and %v", ids(got.Replaced), ids(got.Shared), err, tt.replaced, tt.shared)
			}
		})
	}
}
