// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// audit is a comparison of what sock_diag shows of a namespace with what the programs know of it. It is about
// sockets that somebody has, so many at most.
type audit struct {
	netns netns.Identity
	began monotime.Time
	shown map[uint64]*inetdiag.Socket // by cookie: those that sock_diag showed, nil once the programs did too
	stale []inetdiag.ID               // that the programs know and sock_diag did not show
}

const atMost = 4096

// show notes a socket that sock_diag shows.
func (a *audit) show(s *inetdiag.Socket) {
	if s.Inode != 0 && len(a.shown) < atMost {
		known := *s
		a.shown[s.ID.Cookie()] = &known
	}
}

// know notes a socket that the programs know.
func (a *audit) know(s *bpf.Socket) {
	if a == nil || s.Netns != a.netns.Cookie {
		return
	}
	cookie := s.ID.Cookie()
	if _, shown := a.shown[cookie]; shown {
		a.shown[cookie] = nil
	} else if s.At.Before(a.began) && len(a.stale) < atMost && len(a.shown) < atMost {
		a.stale = append(a.stale, s.ID)
	}
}

// unknown returns the sockets that the programs do not know.
func (a *audit) unknown() (list []*inetdiag.Socket) {
	for _, s := range a.shown {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// auditOne sweeps the namespace whose turn it is for an audit, if one is due. Its findings are handed over as any,
// but that they are not late.
func (f *BPF) auditOne(ctx context.Context, now monotime.Time) {
	next := f.audits.queue.peek()
	if next == nil || f.fallen != nil {
		return
	}
	target, complete := next.target, false
	f.audit = &audit{netns: target.Identity, began: now, shown: make(map[uint64]*inetdiag.Socket)}
	defer func() { f.audit = nil }()
	f.audits.step(now, func(findings ...Finding) {
		for i := range findings {
			for j := range findings[i].Seen {
				f.audit.show(&findings[i].Seen[j].Socket)
			}
			complete = complete || !findings[i].Swept.IsZero()
			findings[i].Late = 0
		}
		f.found(findings...)
	})
	if complete {
		f.compare(ctx, target)
	}
}

// compare looks for what an audit showed among what the programs know, and for what they know too much.
func (f *BPF) compare(ctx context.Context, target Target) {
	f.readSet(monotime.Now())
	if f.fallen == nil {
		f.forget(target)
	}
	if f.fallen != nil || len(f.audit.unknown()) == 0 {
		return
	}
	f.walkAll(ctx, monotime.Now()) // and counts what the programs were not called for
	if f.fallen == nil && len(f.audit.unknown()) > 0 {
		f.unseen(ctx, target)
	}
}

// forget takes out of the programs' set what is half-closed no more: the program was not called for that.
func (f *BPF) forget(target Target) {
	var gone []uint64
	f.lookAgain(target, f.audit.stale, func(id inetdiag.ID, s *inetdiag.Socket, err error) {
		if errors.Is(err, inetdiag.ErrGone) || err == nil && !s.State.HalfClosed() {
			gone = append(gone, id.Cookie())
		}
	})
	f.audit.stale = nil
	if err := f.kernel.forget(gone); err != nil {
		f.fall(monotime.Now(), "%v", err)
	}
}

// unseen falls back if a process has a half-closed socket that a walk has not shown. What no process has, as a socket
// that is in flight between two, no walk can.
func (f *BPF) unseen(ctx context.Context, target Target) {
	q := owners.Query{Inodes: make(map[uint32]struct{}), Netns: map[uint64]struct{}{target.Identity.Inode: {}}}
	for _, s := range f.audit.unknown() {
		q.Inodes[s.Inode] = struct{}{}
	}
	held, _ := f.sight.proc.Find(ctx, q) // nobody found proves nothing
	if len(held) == 0 {
		return
	}
	if f.walkAll(ctx, monotime.Now()); f.fallen != nil { // it may have come into a process's hands only now
		return
	}
	var ids []inetdiag.ID
	for _, s := range f.audit.unknown() {
		if len(held[s.Inode]) > 0 {
			ids = append(ids, s.ID)
		}
	}
	f.lookAgain(target, ids, func(id inetdiag.ID, s *inetdiag.Socket, err error) {
		if err == nil && s.State.HalfClosed() && len(held[s.Inode]) > 0 && f.fallen == nil {
			who := held[s.Inode][0]
			f.fall(monotime.Now(), "the walk over all processes does not show the socket %v, which %v has", id, who)
		}
	})
}

// lookAgain asks the kernel for sockets of a namespace. Where it cannot be asked visit is not called.
func (f *BPF) lookAgain(target Target, ids []inetdiag.ID, visit func(inetdiag.ID, *inetdiag.Socket, error)) {
	if len(ids) == 0 {
		return
	}
	conn, err := f.audits.opener.Open(target, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) { visit(ids[i], s, err) })
}
