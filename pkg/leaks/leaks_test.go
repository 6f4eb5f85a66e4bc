// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package leaks_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/leaks"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

const now = monotime.Time(100 * time.Hour)

var (
	web  = &leaks.Place{Pod: state.Pod{Namespace: "shop", Name: "web-1"}, ContainerID: "c1", Netns: "/run/netns/web", Watched: now.Add(-time.Hour)}
	cart = &leaks.Place{Pod: state.Pod{Namespace: "shop", Name: "cart-0"}, ContainerID: "c2", Netns: "/run/netns/cart", Watched: now.Add(-30 * time.Second)}
)

func port(addr string, p int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(p))
}

// client returns a socket of web to 10.0.0.7:443 that became half-closed some time ago.
func client(i int, ago time.Duration) leaks.Socket {
	return leaks.Socket{
		Place: web, Local: port("10.0.0.2", 40000+i), Peer: port("10.0.0.7", 443), State: inetdiag.CloseWait, Role: policy.RoleClient,
		Verdict: policy.PeerAlive, Inode: uint32(1000 + i), Unread: 2, Since: now.Add(-ago), Idle: now.Add(-ago),
	}
}

// ownedBy returns the owners of sockets: each is held by one process.
func ownedBy(sockets []leaks.Socket, p owners.Process) map[uint32][]owners.Process {
	found := make(map[uint32][]owners.Process)
	for _, s := range sockets {
		found[s.Inode] = []owners.Process{p}
	}
	return found
}

func TestEqualSocketsAreOneGroupWithTheirGrowth(t *testing.T) {
	var sockets []leaks.Socket
	for i := range 310 { // one each 4 s for 20 minutes
		sockets = append(sockets, client(i, time.Minute+time.Duration(i)*4*time.Second))
	}
	sockets[3].Verdict = policy.UnreadData
	java := owners.Process{PID: 812, Command: "java"}
	got := leaks.Group(sockets, ownedBy(sockets, java), now)
	growth := 13.6 // 136 became half-closed in the last 10 minutes
	want := []api.LeakGroup{{
		Pod: web.Pod, ContainerID: "c1", Netns: "/run/netns/web", Owners: []owners.Process{java}, OwnerCount: 1, State: inetdiag.CloseWait,
		Role: policy.RoleClient, Peer: "10.0.0.7:443", Sockets: 310, Verdicts: map[string]int{"peer-alive": 309, "unread-data": 1},
		Oldest: api.Seconds(time.Minute + 309*4*time.Second), Newest: api.Seconds(time.Minute), Growth: &growth, Unread: 620,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSocketsDifferByPodOwnerStateRoleAndAddress(t *testing.T) {
	base := client(0, time.Hour)
	change := func(inode uint32, f func(*leaks.Socket)) leaks.Socket {
		s := base
		s.Inode = inode
		f(&s)
		return s
	}
	sockets := []leaks.Socket{
		base, change(2, func(s *leaks.Socket) { s.Local = port("10.0.0.2", 5) }), // the same group
		change(3, func(s *leaks.Socket) { s.Place = cart }),
		change(4, func(s *leaks.Socket) { s.State = inetdiag.FinWait2 }),
		change(5, func(s *leaks.Socket) { s.Peer = port("10.0.0.8", 443) }),
		change(6, func(s *leaks.Socket) { s.Role = policy.RoleServer }),
		change(7, func(*leaks.Socket) {}), // another owner
	}
	found := ownedBy(sockets[:6], owners.Process{PID: 1, Command: "a"})
	got := leaks.Group(sockets, found, now)
	var sizes []int
	for _, g := range got {
		sizes = append(sizes, g.Sockets)
		if g.Pod == cart.Pod && g.Growth != nil {
			t.Errorf("a pod that has been watched for 30 s has the growth %v", *g.Growth)
		}
	}
	if want := []int{2, 1, 1, 1, 1, 1}; !slices.Equal(sizes, want) {
		t.Errorf("the groups have %v sockets, want %v", sizes, want)
	}
	reversed := slices.Clone(sockets)
	slices.Reverse(reversed)
	if diff := cmp.Diff(got, leaks.Group(reversed, found, now)); diff != "" {
		t.Errorf("the order of the sockets matters\n%s", diff)
	}
}

func TestWithoutARoleTheCommonAddressMakesTheGroup(t *testing.T) {
	var clients, servers []leaks.Socket
	for i := range 20 {
		s := client(i, time.Hour)
		s.Role = policy.RoleUnknown
		clients = append(clients, s)
		s.Local, s.Peer = port("10.0.0.2", 8080), port("10.9.9.9", 50000+i)
		servers = append(servers, s)
	}
	for name, tc := range map[string]struct {
		sockets []leaks.Socket
		local   string
		peer    string
	}{
		"the peer's":    {clients, "", "10.0.0.7:443"},
		"the local one": {servers, "10.0.0.2:8080", ""},
	} {
		got := leaks.Group(tc.sockets, nil, now)
		if len(got) != 1 || got[0].Local != tc.local || got[0].Peer != tc.peer || got[0].Sockets != 20 || got[0].OwnerCount != 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestASocketIsALeakOnceAPatienceOrAMinuteHasEnded(t *testing.T) {
	for _, r := range policy.Reasons() {
		young, old := client(0, time.Second), client(0, api.LeakIdle)
		young.Verdict, old.Verdict = r, r
		due := slices.Contains([]policy.Reason{
			policy.Destroyable, policy.WouldDestroy, policy.AskingPeer, policy.WouldAsk, policy.PeerAlive, policy.UnreadData,
			policy.UnackedData, policy.BelowThreshold,
		}, r)
		if got := young.IsLeak(now); got != due {
			t.Errorf("%v, idle for 1s: %v", r, got)
		}
		if got := old.IsLeak(now); got != (r != policy.Orphan) {
			t.Errorf("%v, idle for %v: %v", r, api.LeakIdle, got)
		}
	}
}

func TestGroupsNameWhoHoldsDescriptors(t *testing.T) {
	java, other := owners.Process{PID: 812, Command: "java"}, owners.Process{PID: 9, Command: "nginx"}
	sockets := []leaks.Socket{client(0, time.Hour)}
	list := api.LeakList{Groups: leaks.Group(sockets, ownedBy(sockets, java), now)}
	view := api.DescriptorsView{
		Holders:   []api.DescriptorHolder{{Process: java, Pod: web.Pod, Held: 48, Ended: 50}, {Process: other, Pod: cart.Pod, Held: 1, Ended: 1}},
		NearLimit: []api.FileUse{{Process: java, Pod: web.Pod, Open: 1000, Limit: 1024}},
	}
	leaks.AddDescriptors(&list, view, func(p state.Pod, _ owners.Process) bool { return p == web.Pod })
	g := list.Groups[0]
	if g.Held != 48 || g.Ended != 50 || g.Files == nil || g.Files.Open != 1000 || len(list.Holders) != 1 || len(list.NearLimit) != 1 {
		t.Errorf("got %+v", list)
	}
}
