// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/leaks"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Leaks groups the leaked sockets by pod, owner, state and address, as they were at their last looks. It looks up their
// owners in one walk.
func (r *Reaper) Leaks(ctx context.Context, q api.LeakQuery) (api.LeakList, error) {
	list := api.LeakList{
		Groups: []api.LeakGroup{}, Holders: []api.DescriptorHolder{}, NearLimit: []api.FileUse{}, Problems: []string{}, // never null
	}
	var sockets []leaks.Socket
	var held api.DescriptorsView
	var pods []state.Pod // that the query covers
	err := r.each(ctx, func(l *loop) { held = l.descriptors() }, func(l *loop, ns *registered) {
		if coversAny(q.PodQuery, ns.records) {
			pods = append(pods, ns.records[0].Pod)
			sockets = l.leaks(&q, ns, sockets, &list.Young)
		}
	})
	if err != nil {
		return list, err
	}
	inodes := make(map[uint32]struct{}, len(sockets))
	for i := range sockets {
		if inode := sockets[i].Inode; inode != 0 {
			inodes[inode] = struct{}{}
		}
	}
	found, err := r.findOwners(ctx, inodes)
	if err != nil {
		list.Problems = append(list.Problems, err.Error())
	}
	if q.Owner != "" {
		sockets = slices.DeleteFunc(sockets, func(s leaks.Socket) bool { return !q.SelectsOwner(found[s.Inode]) })
	}
	list.Sockets = len(sockets)
	list.Groups = leaks.Group(sockets, found, r.cfg.Clock.Now())
	list.Groups = slices.DeleteFunc(list.Groups, func(g api.LeakGroup) bool { return g.Sockets < q.Min })
	leaks.AddDescriptors(&list, held, func(p state.Pod, process owners.Process) bool {
		return slices.Contains(pods, p) && q.SelectsOwner([]owners.Process{process})
	})
	if q.Limit > 0 && len(list.Groups) > q.Limit {
		list.Omitted = len(list.Groups) - q.Limit
		list.Groups = list.Groups[:q.Limit]
	}
	return list, nil
}

// leaks appends the leaked sockets of a network namespace that the query selects, and counts the young ones.
func (l *loop) leaks(q *api.LeakQuery, ns *registered, to []leaks.Socket, young *int) []leaks.Socket {
	now := l.clock.Now()
	first := &ns.records[0]
	place := &leaks.Place{Pod: first.Pod, ContainerID: first.ContainerID, Netns: first.Netns.Path, Watched: ns.registeredAt}
	for _, c := range ns.candidates {
		h := &c.history
		s := leaks.Socket{
			Place: place, Local: h.ID.Local(), Peer: h.ID.Peer(), State: h.State, Role: h.Role, Inode: c.shown.inode,
			Verdict: c.sparedNow(l.tracker.canAsk, now), Since: h.Since, Idle: h.IdleStart(policy.ClockProgress),
		}
		if !leaks.Wants(q, &s, now) {
			continue
		}
		if !q.All && !s.IsLeak(now) {
			*young++
			continue
		}
		sock := c.socket()
		s.Unread = policy.Unread(&sock)
		to = append(to, s)
	}
	return to
}

// findOwners looks up the owners of sockets in one walk.
func (r *Reaper) findOwners(ctx context.Context, inodes map[uint32]struct{}) (map[uint32][]owners.Process, error) {
	if r.cfg.Owners == nil {
		return nil, errNoOwners
	}
	if len(inodes) == 0 {
		return nil, nil
	}
	q := owners.Query{Inodes: inodes, Netns: make(map[uint64]struct{}), Scope: owners.AllProcesses}
	err := r.read(ctx, func(l *loop) {
		for id := range l.registry.namespaces {
			q.Netns[id.Inode] = struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	return r.cfg.Owners.Find(ctx, q)
}
