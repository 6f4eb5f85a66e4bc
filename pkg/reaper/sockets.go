// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// Sockets lists sockets by pod, the oldest of each first.
func (r *Reaper) Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error) {
	list := api.SocketList{Sockets: []api.SocketView{}} // never null
	var err error
	list.Problems, err = r.EachSocket(ctx, q, func(v *api.SocketView) error {
		list.Sockets = append(list.Sockets, *v)
		return nil
	})
	return list, err
}

// EachSocket calls yield with each socket that Sockets lists, until yield returns an error. The view is valid until yield
// returns; the values that its fields point to stay valid. The problems are those of a SocketList.
func (r *Reaper) EachSocket(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) (problems []string, err error) {
	if q.Owners || q.Owner != "" {
		return r.eachOwned(ctx, q, yield)
	}
	problems = []string{} // never null
	list := func(s *survey) error {
		views, err := s.list(r.opener, q)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, v := range oldestFirst(views) {
			if err := yield(v); err != nil {
				return err
			}
		}
		return nil
	}
	asked := r.identify(q.Netns)
	ids, registered, err := r.covered(ctx, q, asked)
	if err == nil && q.Netns != "" && q.Pod == "" && !registered {
		err = list(surveyUnregistered(r.cfg.Clock, q.Netns, asked))
	}
	var s survey
	for _, id := range ids {
		if err == nil { // one network namespace at a time, so that the loop can serve deadlines in between
			err = r.read(ctx, func(l *loop) { l.survey(id, &s) })
		}
		if err == nil && !s.isUnknown {
			err = list(&s)
		}
	}
	return problems, err
}

// eachOwned is EachSocket with owners, which it looks up for all sockets in one walk.
func (r *Reaper) eachOwned(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) ([]string, error) {
	filter := q.SocketFilter
	q.Owners, q.Owner = false, ""
	list, err := r.Sockets(ctx, q)
	if err == nil {
		if problem := r.addOwners(ctx, list.Sockets); problem != nil {
			list.Problems = append(list.Problems, problem.Error())
		}
	}
	for i := range list.Sockets {
		if v := &list.Sockets[i]; err == nil && filter.SelectsOwner(v.Owners) {
			err = yield(v)
		}
	}
	return list.Problems, err
}

// covered lists the registered network namespaces that the query covers, by pod and container, and reports whether
// the one of its path (asked) is registered.
func (r *Reaper) covered(ctx context.Context, q api.SocketQuery, asked netns.Identity) (ids []netns.Identity, registered bool, err error) {
	type sortKey struct {
		pod       state.Pod
		container string
	}
	keys := make(map[netns.Identity]sortKey)
	err = r.read(ctx, func(l *loop) {
		for id, ns := range l.registry.namespaces {
			same := id.Same(asked)
			registered = registered || same
			if (same || q.All || q.Netns == "") && coversAny(q.PodQuery, ns.records) {
				keys[id] = sortKey{ns.records[0].Pod, ns.records[0].ContainerID}
			}
		}
	})
	ids = slices.SortedFunc(maps.Keys(keys), func(a, b netns.Identity) int {
		p, q := keys[a], keys[b]
		return cmp.Or(
			cmp.Compare(p.pod.Namespace, q.pod.Namespace), cmp.Compare(p.pod.Name, q.pod.Name),
			cmp.Compare(p.container, q.container), cmp.Compare(a.Inode, b.Inode))
	})
	return ids, registered, err
}

// coversAny reports whether the query covers a network namespace with these records.
func coversAny(q api.PodQuery, records []state.Record) bool {
	return slices.ContainsFunc(records, func(r state.Record) bool { return q.Covers(r.Pod, r.ContainerID) })
}

// identify returns the network namespace at a path; the zero Identity if the path cannot be opened.
func (r *Reaper) identify(path string) (id netns.Identity) {
	if path == "" {
		return id
	}
	if h, err := r.cfg.Root.Open(path); err == nil { // otherwise the survey returns the error
		defer h.Close()
		id = h.Stat()
	}
	return id
}

var errNoOwners = errors.New("this reaper does not look up owners")

// addOwners looks up the owners of all sockets in one walk.
func (r *Reaper) addOwners(ctx context.Context, views []api.SocketView) error {
	inodes := make(map[uint32]struct{}, len(views))
	for i := range views {
		if inode := views[i].Inode; inode != 0 {
			inodes[inode] = struct{}{}
		}
	}
	found, err := r.findOwners(ctx, inodes)
	for i := range views {
		views[i].Owners = found[views[i].Inode]
	}
	return err
}
