// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// SocketView is one TCP socket, and what is done about it.
type SocketView struct {
	Pod         state.Pod      `json:"pod"`
	ContainerID string         `json:"containerID,omitempty"`
	Netns       string         `json:"netns"`
	Local       string         `json:"local"`
	Peer        string         `json:"peer"`
	State       inetdiag.State `json:"state"`
	// Age is how long it has been half-closed, as far as can be proven; Idle how long nothing has moved.
	Age     *Seconds      `json:"ageSeconds,omitempty"`
	Idle    *Seconds      `json:"idleSeconds,omitempty"`
	RQueue  uint32        `json:"rqueueBytes"`
	WQueue  uint32        `json:"wqueueBytes"`
	UID     uint32        `json:"uid"`
	Inode   uint32        `json:"inode"`
	Cookie  uint64        `json:"cookie"`
	Verdict policy.Reason `json:"verdict"`
	Mode    policy.Mode   `json:"mode"`
	Why     string        `json:"why"`
	// Deadline is how long until its grace ends; negative once it has.
	Deadline *Seconds         `json:"deadlineSeconds,omitempty"`
	Owners   []owners.Process `json:"owners,omitempty"`
}

// SocketQuery says which sockets to list.
type SocketQuery struct {
	// All looks at every TCP socket of the registered namespaces now; otherwise what is known of the
	// half-closed ones is listed.
	All bool
	// Netns is the path of one more namespace, registered or not, to look at in the same way.
	Netns string
	// Owners asks for the processes that hold each socket.
	Owners bool
	// Pod, unless empty, is the pod whose sockets are listed, as namespace/name or as its name alone, or the
	// beginning of a container ID.
	Pod string
	// State, unless zero, and Verdict, unless nil, are what the listed sockets have.
	State   inetdiag.State
	Verdict *policy.Reason
}

// covers reports whether the sockets of an attachment's namespace can be among those asked for.
func (q SocketQuery) covers(rec state.Record) bool {
	return q.Pod == "" || q.Pod == rec.Pod.String() || q.Pod == rec.Pod.Name || strings.HasPrefix(rec.ContainerID, q.Pod)
}

// wants reports whether a socket of a namespace that is covered is among those asked for.
func (q SocketQuery) wants(v *SocketView) bool {
	return (q.State == 0 || q.State == v.State) && (q.Verdict == nil || *q.Verdict == v.Verdict)
}

// SocketList is an answer to a SocketQuery.
type SocketList struct {
	Sockets []SocketView `json:"sockets"`
	// Problems says what could not be looked at.
	Problems []string `json:"problems"`
}

// Sockets lists sockets, pod after pod, the oldest of each first.
func (r *Reaper) Sockets(ctx context.Context, q SocketQuery) (SocketList, error) {
	list := SocketList{Sockets: []SocketView{}} // never null
	var err error
	list.Problems, err = r.EachSocket(ctx, q, func(v *SocketView) error {
		list.Sockets = append(list.Sockets, *v)
		return nil
	})
	return list, err
}

// EachSocket calls yield with each socket that Sockets lists, until it returns an error. A view is good until yield
// returns; what it points to stays. The problems are those of a SocketList.
func (r *Reaper) EachSocket(ctx context.Context, q SocketQuery, yield func(*SocketView) error) (problems []string, err error) {
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
		err = list(strangers(q.Netns, asked))
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
func (r *Reaper) eachOwned(ctx context.Context, q SocketQuery, yield func(*SocketView) error) ([]string, error) {
	q.Owners = false
	list, err := r.Sockets(ctx, q)
	if err == nil {
		list.note(r.addOwners(ctx, list.Sockets))
	}
	for i := range list.Sockets {
		if err == nil {
			err = yield(&list.Sockets[i])
		}
	}
	return list.Problems, err
}

func (l *SocketList) note(err error) {
	if err != nil {
		l.Problems = append(l.Problems, err.Error())
	}
}

// covered lists the registered namespaces whose sockets are asked for, by pod and container, and reports whether
// the one that is asked for by its path is registered.
func (r *Reaper) covered(ctx context.Context, q SocketQuery, asked netns.Identity) (ids []netns.Identity, registered bool, err error) {
	type place struct {
		pod       state.Pod
		container string
	}
	places := make(map[netns.Identity]place)
	err = r.read(ctx, func(l *loop) {
		for id, ns := range l.registry.namespaces {
			same := id.Same(asked)
			registered = registered || same
			if (same || q.All || q.Netns == "") && slices.ContainsFunc(ns.records, q.covers) {
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
