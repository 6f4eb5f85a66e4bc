// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// LockedRow compares two ways to destroy sockets that were judged before: a look-up and SOCK_DESTROY, and an iterator that
// compares and destroys under each socket's lock.
type LockedRow struct {
	Own        bool    `json:"ownHash"` // each namespace has its own hash of connections
	Due        int     `json:"due"`     // of the node's sockets
	Namespaces int     `json:"namespaces"`
	Lookup     float64 `json:"lookupMicroseconds"` // CPU time a socket
	Lock       float64 `json:"lockMicroseconds"`
	Ratio      float64 `json:"ratio"` // Lock to Lookup
	// Window is the longest time from the request for the last look to the answer of the destroy; under the lock there is
	// none.
	Window float64 `json:"windowMicroseconds"`
	Median float64 `json:"medianWindowMicroseconds"`
}

// lockedDestroyer has the loaded experiment.
type lockedDestroyer struct {
	objects compareObjects
	iter    *link.Iter
}

// newLockedDestroyer loads it for up to most sockets at a time. It needs Linux 6.5.
func newLockedDestroyer(most int) (*lockedDestroyer, error) {
	spec, err := loadCompare()
	if err != nil {
		return nil, err
	}
	spec.Maps[compareMapDue].MaxEntries = uint32(most)
	d := &lockedDestroyer{}
	if err := spec.LoadAndAssign(&d.objects, nil); err != nil {
		return nil, fmt.Errorf("load the program that compares and destroys: %w", err)
	}
	if d.iter, err = link.AttachIter(link.IterOptions{Program: d.objects.Compare}); err != nil {
		return nil, errors.Join(err, d.objects.Close())
	}
	return d, nil
}

func (d *lockedDestroyer) close() error { return errors.Join(d.iter.Close(), d.objects.Close()) }

// The results of the program, beside those of bpf_sock_destroy().
const (
	lockedNotFound = 1
	lockedChanged  = 2
)

// judgedSocket is a socket that was judged to be destroyed, as of the look for that.
type judgedSocket struct {
	at     finder.Netns
	socket inetdiag.Socket
}

// byNetns groups sockets by the index of their namespace.
func byNetns(list []judgedSocket) (groups [][]judgedSocket) {
	index := make(map[uint64]int)
	for _, j := range list {
		i, ok := index[j.at.Identity.Cookie]
		if !ok {
			i = len(groups)
			index[j.at.Identity.Cookie], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], j)
	}
	return groups
}

// destroy destroys those of the sockets that have not changed, and returns the results in the same order.
func (d *lockedDestroyer) destroy(list []judgedSocket) ([]int32, error) {
	cookies, values := make([]uint64, len(list)), make([]compareJudged, len(list))
	for i, j := range list {
		s := &j.socket
		cookies[i] = s.ID.Cookie()
		values[i] = compareJudged{
			Netns: j.at.Identity.Cookie, BytesAcked: s.Info.BytesAcked, BytesReceived: s.Info.BytesReceived,
			Rqueue: s.RQueue, Wqueue: s.WQueue, State: uint32(s.State), Result: lockedNotFound,
		}
	}
	due := d.objects.Due
	if _, err := due.BatchUpdate(cookies, values, nil); err != nil {
		return nil, fmt.Errorf("pass the judged sockets to the kernel: %w", err)
	}
	for _, group := range byNetns(list) {
		if err := inside(group[0].at, d.walk); err != nil {
			return nil, err
		}
	}
	results := make([]int32, len(list))
	for i, c := range cookies {
		var j compareJudged
		if err := due.LookupAndDelete(c, &j); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("read the result of a destroy: %w", err)
		}
		results[i] = j.Result
	}
	return results, nil
}

// walk visits all sockets of the thread's network namespace.
func (d *lockedDestroyer) walk() error {
	r, err := d.iter.Open()
	if err != nil {
		return fmt.Errorf("start a walk over sockets: %w", err)
	}
	defer r.Close()
	for buf := make([]byte, 64); ; {
		_, err := r.Read(buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, unix.EAGAIN): // EAGAIN: a million sockets
			return fmt.Errorf("walk over sockets: %w", err)
		}
	}
}

// lookUpAndDestroy does what the reaper does: it looks sockets up, compares them, and destroys them at once. It returns the
// time from each look-up's request to the answer of the destroy.
func lookUpAndDestroy(list []judgedSocket) (windows []time.Duration, err error) {
	for _, group := range byNetns(list) {
		conn, err := open(group[0].at)
		if err != nil {
			return nil, err
		}
		for start := 0; err == nil && start < len(group); start += destroyBatch {
			some := group[start:min(start+destroyBatch, len(group))]
			var ids []inetdiag.ID
			for _, j := range some {
				ids = append(ids, j.socket.ID)
			}
			asked := time.Now()
			var failed error
			err = conn.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
				if err == nil && !isUnchanged(s, &some[i].socket) {
					err = fmt.Errorf("%v has changed", s.ID)
				}
				failed = errors.Join(failed, err)
			})
			if err = errors.Join(err, failed); err == nil {
				err = conn.DestroyAll(ids, nil, func(_ int, err error) {
					failed = errors.Join(failed, err)
					windows = append(windows, time.Since(asked))
				})
				err = errors.Join(err, failed)
			}
		}
		if err = errors.Join(err, conn.Close()); err != nil {
			return nil, err
		}
	}
	return windows, nil
}

func isUnchanged(a, b *inetdiag.Socket) bool {
	return a.State == b.State && a.RQueue == b.RQueue && a.WQueue == b.WQueue && a.Info.BytesAcked == b.Info.BytesAcked &&
		a.Info.BytesReceived == b.Info.BytesReceived
}

// measureLocked compares the two ways on a full node, with one hash of connections and with own ones.
func measureLocked(ctx context.Context, o options) (rows []LockedRow, err error) {
	namespaces, each := 252, sockets{Closed: 200, Established: 100}
	if o.short {
		namespaces, each = 3, sockets{Closed: 20, Established: 10}
	}
	if err := needMemory(namespaces * each.total()); err != nil {
		return nil, err
	}
	for _, own := range []bool{false, true} {
		some, err := lockedWith(ctx, o, namespaces, each, own)
		if errors.Is(err, errNoChildTables) {
			break
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

func lockedWith(ctx context.Context, o options, namespaces int, each sockets, own bool) (rows []LockedRow, err error) {
	nd, err := newNetnsSet(fmt.Sprintf("locked-%v-", own), namespaces, own, each.total())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	all := namespaces * each.Closed
	d, err := newLockedDestroyer(all)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	rounds := 5
	if o.short {
		rounds = 1
	}
	var left []judgedSocket
	for _, c := range []struct{ due, rounds int }{{1, rounds}, {8, rounds}, {100, rounds}, {1000, rounds}, {50_000, 1}} {
		due := min(c.due, all)
		var lookups, locks []float64
		var windows []time.Duration
		row := LockedRow{Own: own, Due: due}
		for range c.rounds {
			for _, locked := range []bool{false, true} {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if len(left) < due {
					progress("making %d sockets in %d namespaces, own hashes: %v", namespaces*each.total(), namespaces, own)
					if left, err = refill(nd, each); err != nil {
						return nil, err
					}
				}
				some := left[:due]
				left = left[due:]
				row.Namespaces = len(byNetns(some))
				before := self()
				if locked {
					err = checkDestroyed(d.destroy(some))
				} else {
					var w []time.Duration
					w, err = lookUpAndDestroy(some)
					windows = append(windows, w...)
				}
				if err != nil {
					return nil, err
				}
				cpu := microseconds(self()-before) / float64(due)
				if locked {
					locks = append(locks, cpu)
				} else {
					lookups = append(lookups, cpu)
				}
			}
		}
		row.Lookup, row.Lock = median(lookups), median(locks)
		row.Ratio = row.Lock / row.Lookup
		row.Window, row.Median = 1e3*milliseconds(percentile(windows, 100)), 1e3*milliseconds(percentile(windows, 50))
		rows = append(rows, row)
	}
	return rows, nil
}

// checkDestroyed returns an error unless each socket was destroyed.
func checkDestroyed(results []int32, err error) error {
	for i, r := range results {
		if r != 0 {
			return fmt.Errorf("socket %d of %d: the program returned %d", i, len(results), r)
		}
	}
	return err
}

// refill makes the sockets of each namespace, and returns the leaked ones: one of each namespace after the other.
func refill(nd *netnsSet, each sockets) ([]judgedSocket, error) {
	if err := nd.fill(0, len(nd.names), each); err != nil {
		return nil, err
	}
	lists := make([][]judgedSocket, len(nd.targets))
	for i, t := range nd.targets {
		err := dump(t, inetdiag.Filter{States: 1 << inetdiag.CloseWait, Info: true}, func(s *inetdiag.Socket) {
			lists[i] = append(lists[i], judgedSocket{t, *s})
		})
		if err != nil {
			return nil, err
		}
		if len(lists[i]) != each.Closed {
			return nil, fmt.Errorf("%d leaked sockets in %s, want %d", len(lists[i]), t.Paths[0], each.Closed)
		}
	}
	var all []judgedSocket
	for n := range each.Closed {
		for i := range lists {
			all = append(all, lists[i][n])
		}
	}
	return all, nil
}
