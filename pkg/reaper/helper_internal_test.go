// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/census"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// now is the moment by the loops' clock.
func now() monotime.Time { return monotime.Fake{}.Now() }

// moment is the time that long after the start of a pure test, which is long after boot.
func moment(d time.Duration) monotime.Time { return monotime.Time(24 * time.Hour).Add(d) }

// closeWait is a socket that has been in CLOSE_WAIT since the given time, without progress.
func closeWait(cookie uint64, age time.Duration) inetdiag.Socket {
	s := inetdiag.Socket{
		ID: inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("10.0.0.1:80"),
			netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), uint16(cookie)), 0, cookie),
		State: inetdiag.CloseWait, Inode: 1, HasInfo: true,
	}
	s.Info.BytesReceived, s.Info.BytesAcked, s.Info.SegsIn, s.Info.LastAckRecv = 101, 51, 7, age
	s.Info.LastDataRecv = 12 * time.Hour
	return s
}

// seenAt is a finder's look at such a socket.
func seenAt(cookie uint64, age time.Duration, at monotime.Time) *finder.Seen {
	return &finder.Seen{Socket: closeWait(cookie, age), At: at}
}

// see reports sockets of one namespace as a finder does.
func see(l *loop, id netns.Identity, sockets ...finder.Seen) {
	for i := range sockets {
		sockets[i].Netns = id
	}
	l.seen(sockets)
}

// kernel has the sockets for an examiner: those of closeWait, with the changes of the test.
type kernel struct {
	gone    map[uint64]bool     // by cookie
	inodes  map[uint64]uint32   // by cookie, if not 1
	refuse  error               // error of every destroy
	pause   func(cookie uint64) // between a look and a destroy
	looks   []int               // number of sockets of each look
	written map[uint64]uint64   // bytes sent and acknowledged, by cookie

	sockets map[uint64]inetdiag.Socket // by cookie, except for closeWait's
	refused map[uint64]error           // error of the look, by cookie

	conditions map[int]owners.Condition // of owners just before a destroy; nil: as they were looked up

	destroyed []uint64 // cookies
}

// examine lets an examiner process a job.
func (k *kernel) examine(j *job) {
	e := examiner{clock: monotime.Fake{}, open: func(finder.Netns) (conn, error) { return k, nil }}
	if k.conditions != nil {
		e.owners.conditions = func([]int) map[int]owners.Condition { return k.conditions }
	}
	e.examine(j)
}

func (k *kernel) LookupAll(ids []inetdiag.ID, yield func(int, *inetdiag.Socket, error)) error {
	k.looks = append(k.looks, len(ids))
	for i, id := range ids {
		s := closeWait(id.Cookie(), 12*time.Hour)
		s.ID, s.Inode = id, max(s.Inode, k.inodes[id.Cookie()])
		if other, ok := k.sockets[id.Cookie()]; ok {
			s = other
			s.Info.LastAckRecv, s.Info.LastDataRecv = 12*time.Hour, 12*time.Hour
		}
		s.Info.BytesAcked += k.written[id.Cookie()]
		if err := k.refused[id.Cookie()]; err != nil {
			yield(i, nil, err)
		} else if k.gone[id.Cookie()] || slices.Contains(k.destroyed, id.Cookie()) {
			yield(i, nil, inetdiag.ErrGone)
		} else {
			yield(i, &s, nil)
		}
	}
	return nil
}

func (k *kernel) DestroyAll(ids []inetdiag.ID, ready func(int) bool, yield func(int, error)) error {
	for i, id := range ids {
		if k.pause != nil {
			k.pause(id.Cookie())
		}
		if !ready(i) {
			yield(i, inetdiag.ErrNotReady)
			continue
		}
		if k.refuse == nil {
			k.destroyed = append(k.destroyed, id.Cookie())
		}
		yield(i, k.refuse)
	}
	return nil
}

func (k *kernel) Close() error { return nil }

// testGrace is the grace of the namespaces of pure tests.
const testGrace = 20 * time.Second

// newRegistered returns a namespace whose candidates the test creates.
func newRegistered(inode uint64) *registered {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Patience(testGrace), policy.Patience(testGrace), policy.Never
	id, at := netns.Identity{Cookie: inode, Dev: 4, Inode: inode}, []string{"/nowhere"}
	return &registered{
		Netns: finder.NewNetns(id, at, []policy.Policy{p}), policies: []policy.Policy{p}, limit: policy.Destroy, candidates: make(map[uint64]*candidate),
		records:  []state.Record{{Netns: state.Netns{Path: "/nowhere"}, Layers: LayersOf(p)}},
		resolved: []policy.Resolved{LayersOf(p).Resolve(0)},
	}
}

// censusOf returns the difference between what a registry knows and a census with these records alone.
func censusOf(r *registry, records ...state.Record) (u census.Update) {
	return censusWith(r, 0, records...)
}

// censusWith is censusOf with a minimum grace.
func censusWith(r *registry, minGrace time.Duration, records ...state.Record) (u census.Update) {
	u.Active = len(records)
	groups := make(map[netns.Identity]*census.Namespace)
	for id := range r.namespaces {
		groups[id] = &census.Namespace{Identity: id}
	}
	for _, rec := range records {
		id := rec.Netns.Identity
		if groups[id] == nil {
			groups[id] = &census.Namespace{Identity: id}
		}
		groups[id].Records = append(groups[id].Records, rec)
		groups[id].Resolved = append(groups[id].Resolved, rec.Layers.Resolve(minGrace))
	}
	for _, n := range groups {
		u.Namespaces = append(u.Namespaces, *n)
	}
	return u
}

// updateTo has a registry take a census with these records alone.
func updateTo(r *registry, at monotime.Time, records ...state.Record) changes {
	u := censusOf(r, records...)
	return r.update(&u, at)
}
