// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/namespace"
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
	// State and Verdict, unless zero, are what the listed sockets have.
	State   inetdiag.State
	Verdict policy.Reason
}

// covers reports whether the sockets of an attachment's namespace can be among those asked for.
func (q SocketQuery) covers(rec state.Record) bool {
	return q.Pod == "" || q.Pod == rec.Pod.String() || q.Pod == rec.Pod.Name || strings.HasPrefix(rec.ContainerID, q.Pod)
}

// wants reports whether a socket of a namespace that is covered is among those asked for.
func (q SocketQuery) wants(v *SocketView) bool {
	return (q.State == 0 || q.State == v.State) && (q.Verdict == policy.Unknown || q.Verdict == v.Verdict)
}

// SocketList is an answer to a SocketQuery.
type SocketList struct {
	Sockets []SocketView `json:"sockets"`
	// Problems says what could not be looked at.
	Problems []string `json:"problems"`
}

// Sockets lists sockets, the oldest of each namespace first.
func (r *Reaper) Sockets(ctx context.Context, q SocketQuery) (SocketList, error) {
	list := SocketList{Sockets: []SocketView{}, Problems: []string{}} // never null
	asked := r.identify(q.Netns)
	var ids []namespace.Identity
	found := false
	err := r.read(ctx, func(l *loop) {
		for id, ns := range l.registry.namespaces {
			same := id.Same(asked)
			found = found || same
			if (same || q.All || q.Netns == "") && slices.ContainsFunc(ns.records, q.covers) {
				ids = append(ids, id)
			}
		}
	})
	if err != nil {
		return list, err
	}
	for _, id := range ids {
		// One namespace at a time, so that the loop has time for its deadlines.
		var s survey
		if err := r.read(ctx, func(l *loop) { s = l.survey(id) }); err != nil {
			return list, err
		}
		switch {
		case s.gone:
		case !q.All && q.Netns == "":
			list.Sockets = s.appendKnown(list.Sockets, q)
		default:
			list.Sockets, err = s.look(r.opener, list.Sockets, q)
			list.note(err)
		}
	}
	if q.Netns != "" && !found {
		list.Sockets, err = strangers(q.Netns, asked).look(r.opener, list.Sockets, q)
		list.note(err)
	}
	sortSockets(list.Sockets)
	if q.Owners {
		list.note(addOwners(list.Sockets))
	}
	return list, nil
}

func (l *SocketList) note(err error) {
	if err != nil {
		l.Problems = append(l.Problems, err.Error())
	}
}

// identify says which namespace is at a path; the zero Identity if none is, or none can be seen.
func (r *Reaper) identify(path string) (id namespace.Identity) {
	if path == "" {
		return id
	}
	if h, err := r.cfg.Root.Open(path); err == nil { // else the look will say what is wrong
		defer h.Close()
		id = h.Stat()
	}
	return id
}

// survey is what is known of the sockets of one namespace, copied for a reader.
type survey struct {
	target    Target
	record    state.Record
	policy    policy.Policy
	mode      policy.Mode
	known     []candidate
	strangers bool // the namespace is not registered
	gone      bool // nor is it any more
}

// survey copies what is known of a namespace's sockets.
func (l *loop) survey(id namespace.Identity) survey {
	ns := l.registry.namespaces[id]
	if ns == nil {
		return survey{gone: true}
	}
	s := survey{
		target: ns.target(), record: ns.records[0], policy: *ns.policy, mode: l.caps.effective(ns),
		known: make([]candidate, 0, len(ns.candidates)),
	}
	for _, c := range ns.candidates {
		s.known = append(s.known, *c)
	}
	return s
}

// strangers is the survey of a namespace that is not registered.
func strangers(path string, id namespace.Identity) survey {
	return survey{
		target: Target{Paths: []string{path}, Identity: id}, record: state.Record{Netns: state.Netns{Path: path}},
		mode: policy.Off, strangers: true,
	}
}

// appendKnown lists what is known of the half-closed sockets.
func (s survey) appendKnown(views []SocketView, q SocketQuery) []SocketView {
	at := now()
	for i := range s.known {
		c := &s.known[i]
		sock := c.socket()
		v := view(s.record, s.policy, c.history, &sock, at)
		if c.reason == policy.Unknown && !c.complete {
			v.Verdict, v.Why = policy.Unknown, "taken over from the reaper before this one, not looked at yet"
		}
		if q.wants(&v) {
			views = append(views, s.conclude(v, !c.waiting.IsZero()))
		}
	}
	return views
}

// conclude adds what becomes of a socket that nothing but the mode or the budget spares.
func (s survey) conclude(v SocketView, waiting bool) SocketView {
	v.Mode = s.mode
	switch {
	case v.Verdict != policy.Destroyable:
	case v.Mode != policy.Destroy:
		v.Why += ", but the mode is " + v.Mode.String()
	case waiting:
		v.Why += ", waiting for --max-destroys-per-second"
	}
	return v
}

// look dumps the namespace and judges every socket in it.
func (s survey) look(o opener, views []SocketView, q SocketQuery) ([]SocketView, error) {
	conn, err := o.open(s.target, nil)
	if err != nil {
		return views, fmt.Errorf("look at the sockets of %s: %w", s.target.Paths[0], err)
	}
	defer conn.Close()
	known := make(map[uint64]*candidate, len(s.known))
	for i := range s.known {
		known[s.known[i].history.ID.Cookie()] = &s.known[i]
	}
	err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates, Info: true}, func(sock *inetdiag.Socket) error {
		if v := s.judge(sock, known[sock.ID.Cookie()], now()); q.wants(&v) {
			views = append(views, v)
		}
		return nil
	})
	if err != nil {
		return views, fmt.Errorf("look at the sockets of %s: %w", s.target.Paths[0], err)
	}
	return views, nil
}

// judge says what becomes of a socket of the namespace; c is what is known of it, or nil.
func (s survey) judge(sock *inetdiag.Socket, c *candidate, at monotime.Time) SocketView {
	var prev *policy.History
	if c != nil {
		prev = &c.history
	}
	v := view(s.record, s.policy, policy.Follow(prev, policy.Look{At: at, Socket: sock}), sock, at)
	if s.strangers {
		v.Verdict, v.Deadline = policy.NotRegistered, nil
		v.Why = policy.Explain(policy.Verdict{Reason: policy.NotRegistered}, s.policy, policy.History{}, sock, at)
	}
	return s.conclude(v, c != nil && !c.waiting.IsZero())
}

// view shows one socket as policy judges it.
func view(rec state.Record, p policy.Policy, h policy.History, s *inetdiag.Socket, at monotime.Time) SocketView {
	verdict := policy.Judge(p, h, s, at)
	v := SocketView{
		Pod: rec.Pod, ContainerID: rec.ContainerID, Netns: rec.Netns.Path,
		Local: s.ID.Local().String(), Peer: s.ID.Peer().String(), State: s.State,
		RQueue: s.RQueue, WQueue: s.WQueue, UID: s.UID, Inode: s.Inode, Cookie: s.ID.Cookie(),
		Verdict: verdict.Reason, Why: policy.Explain(verdict, p, h, s, at),
	}
	if s.State.HalfClosed() && s.Inode != 0 {
		age, idle := Seconds(at.Sub(h.Since)), Seconds(at.Sub(max(h.Since, h.Progress)))
		v.Age, v.Idle = &age, &idle
	}
	if !verdict.Deadline.IsZero() {
		left := Seconds(verdict.Deadline.Sub(at))
		v.Deadline = &left
	}
	return v
}

func sortSockets(views []SocketView) {
	age := func(v SocketView) Seconds {
		if v.Age == nil {
			return -1
		}
		return *v.Age
	}
	slices.SortFunc(views, func(a, b SocketView) int {
		return cmp.Or(
			cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name),
			cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(age(b), age(a)), cmp.Compare(a.Cookie, b.Cookie))
	})
}

// addOwners looks up who holds each socket, in one walk over /proc.
func addOwners(views []SocketView) error {
	inodes := make(map[uint32]bool, len(views))
	for _, v := range views {
		if v.Inode != 0 {
			inodes[v.Inode] = true
		}
	}
	found, err := owners.Find("/proc", inodes)
	for i := range views {
		views[i].Owners = found[views[i].Inode]
	}
	return err
}
