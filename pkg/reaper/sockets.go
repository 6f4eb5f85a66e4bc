// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// Sockets lists sockets, pod after pod, the oldest of each first.
func (r *Reaper) Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error) {
	list := api.SocketList{Sockets: []api.SocketView{}} // never null
	var err error
	list.Problems, err = r.EachSocket(ctx, q, func(v *api.SocketView) error {
		list.Sockets = append(list.Sockets, *v)
		return nil
	})
	return list, err
}

// EachSocket calls yield with each socket that Sockets lists, until it returns an error. A view is good until yield
// returns; what it points to stays. The problems are those of a SocketList.
func (r *Reaper) EachSocket(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) (problems []string, err error) {
	if q.Owners {
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
	if err == nil && q.Netns != "" && !registered {
		err = list(surveyUnregistered(r.cfg.Clock, q.Netns, asked))
	}
	var s survey
	for _, id := range ids {
		if err == nil { // one namespace at a time, so that the loop has time for its deadlines
			err = r.read(ctx, func(l *loop) { l.survey(id, &s) })
		}
		if err == nil && !s.gone {
			err = list(&s)
		}
	}
	return problems, err
}

// eachOwned is EachSocket with the owners, which are found for all sockets in one walk.
func (r *Reaper) eachOwned(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) ([]string, error) {
	q.Owners = false
	list, err := r.Sockets(ctx, q)
	if err == nil {
		if problem := r.addOwners(ctx, list.Sockets); problem != nil {
			list.Problems = append(list.Problems, problem.Error())
		}
	}
	for i := range list.Sockets {
		if err == nil {
			err = yield(&list.Sockets[i])
		}
	}
	return list.Problems, err
}

// covered lists the registered namespaces whose sockets are asked for, by pod and container, and reports whether
// the one that is asked for by its path is registered.
func (r *Reaper) covered(ctx context.Context, q api.SocketQuery, asked netns.Identity) (ids []netns.Identity, registered bool, err error) {
	type place struct {
		pod       state.Pod
		container string
	}
	places := make(map[netns.Identity]place)
	err = r.read(ctx, func(l *loop) {
		for id, ns := range l.registry.namespaces {
			same := id.Same(asked)
			registered = registered || same
			if (same || q.All || q.Netns == "") && coversAny(q, ns.records) {
				places[id] = place{ns.records[0].Pod, ns.records[0].ContainerID}
			}
		}
	})
	ids = slices.SortedFunc(maps.Keys(places), func(a, b netns.Identity) int {
		p, q := places[a], places[b]
		return cmp.Or(
			cmp.Compare(p.pod.Namespace, q.pod.Namespace), cmp.Compare(p.pod.Name, q.pod.Name),
			cmp.Compare(p.container, q.container), cmp.Compare(a.Inode, b.Inode))
	})
	return ids, registered, err
}

// coversAny reports whether the sockets of a network namespace with these records can be among those asked for.
func coversAny(q api.SocketQuery, records []state.Record) bool {
	return slices.ContainsFunc(records, func(r state.Record) bool { return api.CoversPod(q.Pod, r.Pod, r.ContainerID) })
}

// identify says which namespace is at a path; the zero Identity if none is, or none can be seen.
func (r *Reaper) identify(path string) (id netns.Identity) {
	if path == "" {
		return id
	}
	if h, err := r.cfg.Root.Open(path); err == nil { // else the look will say what is wrong
		defer h.Close()
		id = h.Stat()
	}
	return id
}
