// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package leaks groups leaked half-closed sockets, so that a leak of thousands of sockets is one line. It does no I/O.
package leaks

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Place is a network namespace.
type Place struct {
	Pod         state.Pod
	ContainerID string
	Netns       string        // path
	Watched     monotime.Time // since when halfclose has watched it
}

// Socket is a half-closed socket.
type Socket struct {
	Place       *Place
	Local, Peer netip.AddrPort
	State       inetdiag.State
	Role        policy.Role
	Verdict     policy.Reason
	Inode       uint32
	Unread      uint32 // bytes
	// Since is when it became half-closed, or the earliest time that is proven, and Idle the start of its idle time.
	Since, Idle monotime.Time
}

// IsLeak reports whether a socket counts as leaked: one of its patiences has ended, or it has made no progress for
// api.LeakIdle. A socket that the kernel closes on its own is none.
func (s *Socket) IsLeak(now monotime.Time) bool {
	switch s.Verdict {
	case policy.Orphan:
		return false
	case policy.Destroyable, policy.WouldDestroy, policy.AskingPeer, policy.WouldAsk, policy.PeerAlive,
		policy.UnreadData, policy.UnackedData, policy.BelowThreshold:
		return true
	}
	return now.Sub(s.Idle) >= api.LeakIdle
}

// Wants reports whether a query selects a socket, apart from its pod and its owners.
func Wants(q *api.LeakQuery, s *Socket, now monotime.Time) bool {
	return (q.State == 0 || q.State == s.State) && (q.Verdict == nil || *q.Verdict == s.Verdict) &&
		now.Sub(s.Since) >= q.OlderThan && q.SelectsEnds(s.Local, s.Peer)
}

// bucket is what the sockets of a group have in common, apart from an address.
type bucket struct {
	place *Place
	pid   int // of the first owner; 0 if none is known
	count int // of owners
	state inetdiag.State
	role  policy.Role
}

// key identifies a group.
type key struct {
	bucket
	address netip.AddrPort
	isPeer  bool
}

// Group groups sockets. found has their owners by inode. The groups with the most sockets come first.
func Group(sockets []Socket, found map[uint32][]owners.Process, now monotime.Time) []api.LeakGroup {
	uses := countAddresses(sockets, found)
	groups := make(map[key]*group)
	for i := range sockets {
		s := &sockets[i]
		list := found[s.Inode]
		k := keyOf(s, list, uses)
		g := groups[k]
		if g == nil {
			g = newGroup(k, list)
			groups[k] = g
		}
		g.add(s, now)
	}
	list := make([]api.LeakGroup, 0, len(groups))
	for _, g := range groups {
		list = append(list, g.finish(now))
	}
	slices.SortFunc(list, func(a, b api.LeakGroup) int {
		return cmp.Or(
			cmp.Compare(b.Sockets, a.Sockets), cmp.Compare(b.Oldest, a.Oldest),
			cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name), cmp.Compare(a.ContainerID, b.ContainerID),
			cmp.Compare(a.State, b.State), cmp.Compare(a.Local, b.Local), cmp.Compare(a.Peer, b.Peer),
			cmp.Compare(a.Role, b.Role), slices.CompareFunc(a.Owners, b.Owners, func(p, q owners.Process) int { return cmp.Compare(p.PID, q.PID) }))
	})
	return list
}

func bucketOf(s *Socket, list []owners.Process) bucket {
	b := bucket{place: s.Place, count: len(list), state: s.State, role: s.Role}
	if len(list) > 0 {
		b.pid = list[0].PID
	}
	return b
}

// countAddresses counts how often each address occurs among the sockets of a bucket whose role is unknown.
func countAddresses(sockets []Socket, found map[uint32][]owners.Process) map[key]int {
	uses := make(map[key]int)
	for i := range sockets {
		if s := &sockets[i]; s.Role == policy.RoleUnknown {
			b := bucketOf(s, found[s.Inode])
			uses[key{b, s.Local, false}]++
			uses[key{b, s.Peer, true}]++
		}
	}
	return uses
}

// keyOf returns the group of a socket: by its own address for a server, and by its peer's for a client. If the role is
// unknown, by the one that more sockets have in common.
func keyOf(s *Socket, list []owners.Process, uses map[key]int) key {
	b := bucketOf(s, list)
	local, peer := key{b, s.Local, false}, key{b, s.Peer, true}
	switch {
	case s.Role == policy.RoleClient, s.Role == policy.RoleUnknown && uses[peer] > uses[local]:
		return peer
	}
	return local
}

// group is a LeakGroup that is being counted.
type group struct {
	api.LeakGroup
	verdicts       [256]int // by policy.Reason
	recent         int      // sockets that became half-closed in the window
	window         time.Duration
	oldest, newest monotime.Time
}

func newGroup(k key, list []owners.Process) *group {
	g := &group{oldest: policy.Forever}
	g.Pod, g.ContainerID, g.Netns = k.place.Pod, k.place.ContainerID, k.place.Netns
	g.State, g.Role, g.OwnerCount = k.state, k.role, len(list)
	g.Owners = slices.Clone(list[:min(len(list), api.MaxLeakOwners)])
	if k.isPeer {
		g.Peer = k.address.String()
	} else {
		g.Local = k.address.String()
	}
	return g
}

func (g *group) add(s *Socket, now monotime.Time) {
	if g.Sockets == 0 {
		g.window = min(now.Sub(s.Place.Watched), api.GrowthWindow)
	}
	g.Sockets++
	g.Unread += uint64(s.Unread)
	g.verdicts[s.Verdict]++
	g.oldest, g.newest = min(g.oldest, s.Since), max(g.newest, s.Since)
	if now.Sub(s.Since) <= g.window {
		g.recent++
	}
}

// finish returns the group with its sums.
func (g *group) finish(now monotime.Time) api.LeakGroup {
	g.Verdicts = make(map[string]int)
	for r, n := range g.verdicts {
		if n > 0 {
			g.Verdicts[policy.Reason(r).String()] = n
		}
	}
	g.Oldest, g.Newest = api.Seconds(now.Sub(g.oldest)), api.Seconds(now.Sub(g.newest))
	if g.window >= time.Minute {
		over := max(min(g.window, now.Sub(g.oldest)), time.Minute)
		g.Growth = new(float64(g.recent) / over.Minutes())
	}
	return g.LeakGroup
}

// AddDescriptors adds to a list which of the owners hold descriptors of ended sockets, and which are near their limit on
// open files. It lists the processes of pods that covers selects.
func AddDescriptors(list *api.LeakList, v api.DescriptorsView, covers func(state.Pod, owners.Process) bool) {
	held, files := make(map[int]api.DescriptorHolder), make(map[int]api.FileUse)
	for _, h := range v.Holders {
		if covers(h.Pod, h.Process) {
			held[h.PID] = h
			list.Holders = append(list.Holders, h)
		}
	}
	for _, u := range v.NearLimit {
		if covers(u.Pod, u.Process) {
			files[u.PID] = u
			list.NearLimit = append(list.NearLimit, u)
		}
	}
	for i := range list.Groups {
		g := &list.Groups[i]
		if len(g.Owners) == 0 {
			continue
		}
		h := held[g.Owners[0].PID]
		g.Held, g.Ended = h.Held, h.Ended
		if u, ok := files[g.Owners[0].PID]; ok {
			g.Files = &u
		}
	}
}
