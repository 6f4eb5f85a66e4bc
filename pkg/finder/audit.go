// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"errors"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
)

// audit compares the sockets that sock_diag shows of one network namespace with the sockets that the programs show.
type audit struct {
	netns Netns
	began monotime.Time
	shown map[uint64]*inetdiag.Socket // that sock_diag has shown, by cookie; nil once the programs have too
	stale []inetdiag.ID               // that the programs have shown and sock_diag has not
}

// maxAuditSockets is how many sockets of each kind an audit compares.
const maxAuditSockets = 4096

// addShown adds a socket that sock_diag shows, unless it has no owner.
func (a *audit) addShown(s *inetdiag.Socket) {
	if s.Inode != 0 && len(a.shown) < maxAuditSockets {
		shown := *s
		a.shown[s.ID.Cookie()] = &shown
	}
}

// addKnown adds a socket that the programs show. It does nothing if there is no audit.
func (a *audit) addKnown(s *bpf.Socket) {
	if a == nil || s.Netns != a.netns.Identity.Cookie {
		return
	}
	cookie := s.ID.Cookie()
	if _, shown := a.shown[cookie]; shown {
		a.shown[cookie] = nil
	} else if s.At.Before(a.began) && len(a.stale) < maxAuditSockets && len(a.shown) < maxAuditSockets {
		a.stale = append(a.stale, s.ID)
	}
}

// unknown returns the sockets that sock_diag has shown and the programs have not.
func (a *audit) unknown() (list []*inetdiag.Socket) {
	for _, s := range a.shown {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// auditSink passes on what an audit's sweep reports, and adds its sockets to the audit.
type auditSink struct {
	Sink
	audit *audit
}

func (s auditSink) Seen(batch []Seen) {
	for i := range batch {
		s.audit.addShown(&batch[i].Socket)
	}
	s.Sink.Seen(batch)
}

// auditNext audits a network namespace, if an audit is due. Its reports are those of any sweep, but never late.
func (f *BPF) auditNext(ctx context.Context, now monotime.Time) {
	n, due := f.audits.due(now)
	if !due || f.fallback != nil {
		return
	}
	f.audit = &audit{netns: n, began: now, shown: make(map[uint64]*inetdiag.Socket)}
	defer func() { f.audit = nil }()
	sweep, complete := f.audits.sweep(now, auditSink{f.sink, f.audit})
	if complete {
		sweep.Late = 0
		f.sink.Swept(sweep)
		f.compare(ctx)
	}
}

// compare looks for the audit's sockets among the programs' sockets, and removes the programs' sockets that are
// gone. It proves nothing of a network namespace that the programs do not show any more.
func (f *BPF) compare(ctx context.Context) {
	f.readSet(f.clock.Now())
	if f.isAuditable() {
		f.removeStale()
	}
	if !f.isAuditable() || len(f.audit.unknown()) == 0 {
		return
	}
	f.walk(ctx, f.clock.Now()) // it also counts the sockets for which the kernel did not call the program
	if f.isAuditable() && len(f.audit.unknown()) > 0 {
		f.checkUnknown(ctx)
	}
}

// isAuditable reports whether the programs show the audited network namespace.
func (f *BPF) isAuditable() bool { return f.covers(f.audit.netns.Identity) }

// removeStale removes from the programs' set the sockets that are not half-closed any more: the kernel did not
// call the program for these.
func (f *BPF) removeStale() {
	var gone []uint64
	f.lookUp(f.audit.stale, func(id inetdiag.ID, s *inetdiag.Socket, err error) {
		if errors.Is(err, inetdiag.ErrGone) || err == nil && !s.State.HalfClosed() {
			gone = append(gone, id.Cookie())
		}
	})
	f.audit.stale = nil
	if err := f.loader.Forget(gone); err != nil {
		f.fallBack(f.clock.Now(), "%v", err)
	}
}

// checkUnknown falls back if a process holds a half-closed socket that no walk has shown. A socket that no
// process holds, such as one in flight between two processes, no walk can show.
func (f *BPF) checkUnknown(ctx context.Context) {
	q := owners.Query{Inodes: make(map[uint32]struct{}), Netns: map[uint64]struct{}{f.audit.netns.Identity.Inode: {}}}
	for _, s := range f.audit.unknown() {
		q.Inodes[s.Inode] = struct{}{}
	}
	held, _ := f.proc.Find(ctx, q) // a socket without a known owner proves nothing
	if len(held) == 0 {
		return
	}
	if f.walk(ctx, f.clock.Now()); !f.isAuditable() { // a process may have received the socket only now
		return
	}
	var ids []inetdiag.ID
	for _, s := range f.audit.unknown() {
		if len(held[s.Inode]) > 0 {
			ids = append(ids, s.ID)
		}
	}
	f.lookUp(ids, func(id inetdiag.ID, s *inetdiag.Socket, err error) {
		if err == nil && s.State.HalfClosed() && len(held[s.Inode]) > 0 && f.fallback == nil {
			f.fallBack(f.clock.Now(), "the walk over all processes does not show the socket %v, which %v holds", id, held[s.Inode][0])
		}
	})
}

// lookUp looks up sockets of the audited network namespace. If it cannot be opened, lookUp does not call visit.
func (f *BPF) lookUp(ids []inetdiag.ID, visit func(inetdiag.ID, *inetdiag.Socket, error)) {
	if len(ids) == 0 {
		return
	}
	conn, err := f.opener.Open(f.audit.netns)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) { visit(ids[i], s, err) })
}
