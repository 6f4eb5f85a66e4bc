// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestUnregisterFindsTheRegistration(t *testing.T) {
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
		w    selector
		want string // the registration
		err  string
	}{
		{name: "by its name", w: selector{arg: "db"}, want: "db"},
		{name: "by the name of the namespace", w: selector{arg: "web", paths: []string{"/run/netns/web", "/var/run/netns/web"}}, want: "web"},
		{name: "by the path, with another namespace now", w: selector{arg: "/run/netns/web", exact: true, paths: []string{"/run/netns/web"}, ids: at(2)}, want: "web"},
		{name: "by another path to the namespace", w: selector{arg: "/proc/9/ns/net", exact: true, paths: []string{"/proc/9/ns/net"}, ids: at(3)}, want: "db"},
		{name: "by the process id", w: selector{arg: "4711", paths: []string{"/run/netns/4711", "/proc/4711/ns/net"}, ids: at(2)}, want: "pid-4711"},
		{
			name: "a process id that was reused", w: selector{arg: "4711", paths: []string{"/proc/4711/ns/net"}, ids: at(1)},
			err: `"4711" matches several registrations: web (/run/netns/web), pid-4711 (/proc/4711/ns/net): use the path of one`,
		},
		{name: "an unreadable record", w: selector{arg: "broken"}, want: "broken"},
		{name: "an unreadable record of CNI", w: selector{arg: "alien"}, err: `"alien" is not registered; registered are web (`},
		{name: "a record of CNI, by container", w: selector{arg: "pod"}, err: `CNI has recorded "pod" (shop/pod), and its DEL removes the record: to spare its sockets, run "halfclose mode observe --pod shop/pod"`},
		{name: "a record of CNI, by path", w: selector{arg: "/run/netns/cni-1", exact: true, paths: []string{"/run/netns/cni-1"}, ids: at(4)}, err: "its DEL removes the record"},
		{name: "a namespace of both, by the path of CNI", w: selector{arg: "/run/netns/cni-5", exact: true, paths: []string{"/run/netns/cni-5"}, ids: at(5)}, want: "shared"},
		{name: "a namespace of another boot with the same identity", w: selector{arg: "/x", exact: true, paths: []string{"/x"}, ids: at(1), boot: "next"}, err: "is not registered"},
		{name: "unknown", w: selector{arg: "x"}, err: `"x" is not registered; registered are web (/run/netns/web), pid-4711 (/proc/4711/ns/net), db (/srv/web), shared (/srv/shared)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.w.boot == "" {
				tt.w.boot = "this"
			}
			got, err := find(listing, tt.w)
			if err != nil {
				if tt.err == "" || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if got.ContainerID != tt.want {
				t.Errorf("got %q, want %q", got.ContainerID, tt.want)
			}
		})
	}
	if _, err := find(state.Listing{}, selector{arg: "x"}); err == nil || err.Error() != `"x" is not registered, and neither is any other namespace` {
		t.Errorf("without registrations: %v", err)
	}
	var many []state.Record
	for i := range 20 {
		many = append(many, manualRecord("n"+strconv.Itoa(i), "/n", uint64(i+1)))
	}
	if _, err := find(state.Listing{Records: many}, selector{arg: "x"}); err == nil || !strings.HasSuffix(err.Error(), "n7 (/n), and 12 more") {
		t.Errorf("with many registrations: %v", err)
	}
}
