// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestUnregisterKnowsWhichOneIsMeant(t *testing.T) {
	listing := state.Listing{
		Records: []state.Record{
			manualRecord("web", "/run/netns/web", 1), manualRecord("pid-4711", "/proc/4711/ns/net", 2),
			manualRecord("db", "/srv/web", 3), cniRecord("pod", "/run/netns/cni-1", 4), manualRecord("shared", "/srv/shared", 5),
			cniRecord("other", "/run/netns/cni-5", 5),
		},
		Problems: []state.Problem{{File: "broken@manual:1-2.json"}, {File: "alien@eth0:1-2.json"}},
	}
	at := func(ids ...uint64) (list []netns.Identity) {
		for _, id := range ids {
			list = append(list, manualRecord("", "", id).Netns.Identity)
		}
		return list
	}
	for _, tt := range []struct {
		name string
		w    wanted
		want string // the registration
		says string
	}{
		{name: "by its name", w: wanted{arg: "db"}, want: "db"},
		{name: "by the name of the namespace", w: wanted{arg: "web", paths: []string{"/run/netns/web", "/var/run/netns/web"}}, want: "web"},
		{name: "by the path, though the namespace is another now", w: wanted{arg: "/run/netns/web", exact: true, paths: []string{"/run/netns/web"}, ids: at(2)}, want: "web"},
		{name: "by another path to the namespace", w: wanted{arg: "/proc/9/ns/net", exact: true, paths: []string{"/proc/9/ns/net"}, ids: at(3)}, want: "db"},
		{name: "by the process id", w: wanted{arg: "4711", paths: []string{"/run/netns/4711", "/proc/4711/ns/net"}, ids: at(2)}, want: "pid-4711"},
		{
			name: "a process id that is another's now", w: wanted{arg: "4711", paths: []string{"/proc/4711/ns/net"}, ids: at(1)},
			says: `"4711" can be any of web (/run/netns/web), pid-4711 (/proc/4711/ns/net): give the path of the one`,
		},
		{name: "a record that cannot be read", w: wanted{arg: "broken"}, want: "broken"},
		{name: "a record of CNI that cannot be read is not ours", w: wanted{arg: "alien"}, says: `"alien" is not registered: there is web (`},
		{name: "of CNI, by container", w: wanted{arg: "pod"}, says: `CNI has recorded "pod" (shop/pod), and its DEL is what ends that`},
		{name: "of CNI, by path", w: wanted{arg: "/run/netns/cni-1", exact: true, paths: []string{"/run/netns/cni-1"}, ids: at(4)}, says: "its DEL is what ends that"},
		{name: "of both, by the path that CNI has", w: wanted{arg: "/run/netns/cni-5", exact: true, paths: []string{"/run/netns/cni-5"}, ids: at(5)}, want: "shared"},
		{name: "another boot's namespace of the same number", w: wanted{arg: "/x", exact: true, paths: []string{"/x"}, ids: at(1), boot: "next"}, says: "is not registered"},
		{name: "nobody", w: wanted{arg: "x"}, says: `"x" is not registered: there is web (/run/netns/web), pid-4711 (/proc/4711/ns/net), db (/srv/web), shared (/srv/shared)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.w.boot == "" {
				tt.w.boot = "this"
			}
			got, err := pick(listing, tt.w)
			if err != nil {
				if tt.says == "" || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want %q", err, tt.says)
				}
				return
			}
			if got.ContainerID != tt.want {
				t.Errorf("got %q, want %q", got.ContainerID, tt.want)
			}
		})
	}
	if _, err := pick(state.Listing{}, wanted{arg: "x"}); err == nil || err.Error() != `"x" is not registered, and nothing is` {
		t.Errorf("where nothing is registered: %v", err)
	}
	var many []state.Record
	for i := range 20 {
		many = append(many, manualRecord("n"+strconv.Itoa(i), "/n", uint64(i+1)))
	}
	if _, err := pick(state.Listing{Records: many}, wanted{arg: "x"}); err == nil || !strings.HasSuffix(err.Error(), "n7 (/n), and 12 more") {
		t.Errorf("where many are: %v", err)
	}
}
