// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

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
}

// Sockets lists sockets, the oldest of each namespace first.
func (r *Reaper) Sockets(ctx context.Context, q SocketQuery) ([]SocketView, error) {
	views := []SocketView{}
	var surveys []survey
	err := r.read(ctx, func(l *loop) {
		for _, ns := range l.registry.namespaces {
			switch {
			case q.All:
				surveys = append(surveys, l.survey(ns))
			case q.Netns == "":
				views = l.appendViews(views, ns)
			}
		}
		if q.Netns != "" {
			surveys = l.surveyOf(q.Netns, r.cfg.Root, surveys)
		}
	})
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range surveys {
		views, err = s.look(r.opener, views)
		errs = append(errs, err)
	}
	sortSockets(views)
	if q.Owners {
		errs = append(errs, addOwners(views))
	}
	return views, errors.Join(errs...)
}

// appendViews lists what is known of a namespace's half-closed sockets.
func (l *loop) appendViews(views []SocketView, ns *registered) []SocketView {
	at := now()
	for _, c := range ns.candidates {
		s := c.socket()
		v := view(ns.records[0], *ns.policy, c.history, &s, at)
		v.Mode = l.caps.effective(ns)
		if c.waiting {
			v.Why += ", waiting for --max-destroys-per-second"
		} else if c.reason == policy.Unknown {
			v.Verdict, v.Why = policy.Unknown, "taken over from the reaper before this one, not looked at yet"
		}
		v.explainMode()
		views = append(views, v)
	}
	return views
}

// survey is a look at all TCP sockets of one namespace, with what is known of some.
type survey struct {
	target    Target
	record    state.Record
	policy    policy.Policy
	mode      policy.Mode
	known     map[uint64]policy.History
	strangers bool // the namespace is not registered
}

func (l *loop) survey(ns *registered) survey {
	s := survey{
		target: ns.target(), record: ns.records[0], policy: *ns.policy, mode: l.caps.effective(ns),
		known: make(map[uint64]policy.History, len(ns.candidates)),
	}
	for cookie, c := range ns.candidates {
		s.known[cookie] = c.history
	}
	return s
}

// surveyOf adds the survey of the namespace that path leads to.
func (l *loop) surveyOf(path string, root *namespace.Root, surveys []survey) []survey {
	s := survey{
		target: Target{Paths: []string{path}}, record: state.Record{Netns: state.Netns{Path: path}}, strangers: true,
	}
	if h, err := root.Open(path); err == nil { // else the look will say what is wrong
		s.target.Identity = h.Stat()
		h.Close()
	}
	for id, ns := range l.registry.namespaces {
		if id.Same(s.target.Identity) {
			return append(surveys, l.survey(ns))
		}
	}
	return append(surveys, s)
}

// look dumps the namespace and judges every socket in it.
func (s survey) look(o opener, views []SocketView) ([]SocketView, error) {
	conn, err := o.open(s.target, nil)
	if err != nil {
		return views, fmt.Errorf("look at the sockets of %s: %w", s.target.Paths[0], err)
	}
	defer conn.Close()
	err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates, Info: true}, func(sock *inetdiag.Socket) error {
		at := now()
		var prev *policy.History
		if h, ok := s.known[sock.ID.Cookie()]; ok {
			prev = &h
		}
		v := view(s.record, s.policy, policy.Follow(prev, policy.Look{At: at, Socket: sock}), sock, at)
		v.Mode = s.mode
		if s.strangers {
			v.Verdict, v.Mode, v.Deadline = policy.NotRegistered, policy.Off, nil
			v.Why = policy.Explain(policy.Verdict{Reason: policy.NotRegistered}, s.policy, policy.History{}, sock, at)
		}
		v.explainMode()
		views = append(views, v)
		return nil
	})
	return views, err
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

// explainMode adds what becomes of a socket that nothing but the mode spares.
func (v *SocketView) explainMode() {
	if v.Verdict == policy.Destroyable && v.Mode != policy.Destroy {
		v.Why += ", but the mode is " + v.Mode.String()
	}
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
