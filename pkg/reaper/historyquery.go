// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	disk "github.com/halfclose/halfclose/pkg/history"
)

// historyStopPatience bounds how long a stopped reaper waits for a disk that does not answer.
const historyStopPatience = 2 * time.Second

// startHistory starts to write the history to disk. stop writes the lines that wait, and returns within
// historyStopPatience.
func (r *Reaper) startHistory() (stop func()) {
	if r.store == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go r.store.Run(ctx)
	return func() {
		cancel()
		timeout := time.NewTimer(historyStopPatience)
		defer timeout.Stop()
		select {
		case <-r.store.Done():
		case <-timeout.C:
			r.warnings.warn(WarnHistory, "the history was not written before the exit: the disk does not answer", "dir", r.cfg.HistoryDir)
		}
	}
}

// historyView returns the state of the history on disk, nil without one.
func (r *Reaper) historyView() *api.HistoryStoreView {
	if r.store == nil {
		return nil
	}
	s := r.store.Stats()
	return &api.HistoryStoreView{
		Dir: s.Dir, Segments: s.Segments, Bytes: s.Bytes, Oldest: s.Oldest, Written: s.Written, Waiting: s.Waiting, Lost: s.Lost,
		Problem: s.Problem, Damage: s.Damage,
	}
}

// History returns the entries that EachEntry yields.
func (r *Reaper) History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error) {
	entries := []api.Entry{}
	end, err := r.EachEntry(ctx, q, func(e *api.Entry) error {
		entries = append(entries, *e)
		return nil
	})
	return end.Page(entries), err
}

// EachEntry calls yield with each destroyed, would-be destroyed and closed socket that q selects, the newest last, until yield
// returns an error. The reaper keeps its last maxHistoryEntries in memory; what is older is read from disk.
func (r *Reaper) EachEntry(ctx context.Context, q api.HistoryQuery, yield func(*api.Entry) error) (api.HistoryEnd, error) {
	own, unwritten, end, err := r.ownEntries(ctx, &q)
	if err != nil {
		return end, err
	}
	if q.History != end.History {
		m := newInMemory(own, unwritten, &end)
		own = selectEntries(own, &q, q.Tail)
		if err := r.earlierEntries(ctx, q, m, len(own), &end, yield); err != nil {
			return end, err
		}
	} else {
		own = selectEntries(own, &q, q.Tail)
	}
	for i := range own {
		own[i].FirstSeq = 0 // it is one alone, whatever the disk has
		if err := yield(&own[i]); err != nil {
			return end, err
		}
	}
	return end, nil
}

// selectEntries returns the last tail entries that q selects; 0 is all of them.
func selectEntries(list []api.Entry, q *api.HistoryQuery, tail int) []api.Entry {
	list = slices.DeleteFunc(list, func(e api.Entry) bool { return !q.Wants(&e) })
	if tail > 0 {
		list = list[max(0, len(list)-tail):]
	}
	return list
}

// inMemory is what a query has of this reaper without the disk.
type inMemory struct {
	run       string
	firstKept uint64         // the Seq of the first entry in memory
	summed    map[uint64]int // entries in memory that a sum has too, by the FirstSeq of the sum
	taken     map[uint64]bool
	unwritten []api.Entry // what was not on disk, without the entries in memory
}

func newInMemory(own, unwritten []api.Entry, end *api.HistoryEnd) *inMemory {
	m := &inMemory{run: end.History, firstKept: end.Last + 1, summed: make(map[uint64]int), taken: make(map[uint64]bool)}
	if len(own) > 0 {
		m.firstKept = own[0].Seq
	}
	for i := range own {
		if first := own[i].FirstSeq; first != 0 {
			m.summed[first]++
		}
	}
	for _, e := range unwritten {
		first := cmp.Or(e.FirstSeq, e.Seq)
		if !m.has(m.run, &e) {
			m.unwritten = append(m.unwritten, e)
		}
		m.taken[first] = true // it may be written before the disk is read
	}
	return m
}

// has reports whether an entry on disk is in memory as a whole. It takes the sockets that are in memory from a sum of others.
func (m *inMemory) has(run string, e *api.Entry) bool {
	first := cmp.Or(e.FirstSeq, e.Seq)
	switch {
	case run != m.run:
		return false
	case first >= m.firstKept || m.taken[first]:
		return true
	case e.FirstSeq == 0:
		return false
	}
	e.Count -= m.summed[first]
	return e.Count < 1
}

// ownEntries returns the entries in memory, and the entries that are not on disk yet. If q.After is of this reaper, only later
// entries in memory count. It waits up to q.Wait for one.
func (r *Reaper) ownEntries(ctx context.Context, q *api.HistoryQuery) (own, unwritten []api.Entry, end api.HistoryEnd, err error) {
	end = api.HistoryEnd{Complete: true, History: disk.RunAt(r.began), Began: r.began, Since: r.began}
	after := q.After
	if q.History != end.History {
		after = 0
	}
	timeout := time.NewTimer(q.Wait)
	defer timeout.Stop()
	for {
		var next <-chan struct{}
		err := r.read(ctx, func(l *loop) {
			own, unwritten, end.Last = l.history.after(after), l.history.unwritten(), l.history.total
			if len(own) == 0 && q.Wait > 0 {
				next = l.history.nextEntry()
			}
		})
		if err != nil {
			return nil, nil, end, err
		}
		if end.Last > after {
			end.Missed = end.Last - after - uint64(len(own))
		}
		if next == nil || q.History != "" && q.History != end.History { // the next reaper answers at once
			return own, unwritten, end, nil
		}
		select {
		case <-next:
		case <-timeout.C:
			return own, unwritten, end, nil
		case <-ctx.Done():
			return nil, nil, end, ctx.Err()
		case <-r.ended:
			return nil, nil, end, api.ErrStopped
		}
	}
}

// maxFollowed bounds the entries that a follower gets of earlier reapers.
const maxFollowed = maxHistoryEntries

// earlierEntries yields the selected entries that are older than those in memory: of earlier reapers, and of this one. have is
// the number of selected entries in memory. One call at a time reads the disk.
func (r *Reaper) earlierEntries(ctx context.Context, q api.HistoryQuery, m *inMemory, have int, end *api.HistoryEnd, yield func(*api.Entry) error) error {
	if r.store == nil {
		return nil
	}
	end.Missed = 0
	var unwritten []api.Entry
	if q.Tail == 0 || q.Tail > have {
		unwritten = selectEntries(m.unwritten, &q, max(q.Tail-have, 0))
		have += len(unwritten)
	}
	select {
	case r.diskReads <- struct{}{}:
		defer func() { <-r.diskReads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	files, err := disk.NewReader(r.cfg.HistoryDir)
	if err != nil {
		end.Problems = append(end.Problems, err.Error())
		return nil
	}
	if oldest, ok := files.Oldest(); ok && oldest.Before(end.Since) {
		end.Since = oldest.UTC()
	}
	yieldUntilDone := func(e *api.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(e)
	}
	switch {
	case q.History != "":
		list, isWhole := files.After(q.History, q.After, maxFollowed, m.has)
		if !isWhole {
			end.Missed = 1 // at least
		}
		for _, e := range selectEntries(list, &q, 0) {
			if err := yieldUntilDone(&e); err != nil {
				return err
			}
		}
	case q.Tail > 0 && have >= q.Tail:
	default:
		if q.Tail > 0 {
			q.Tail -= have
		}
		if err := files.Entries(&q, m.has, yieldUntilDone); err != nil {
			return err
		}
	}
	for i := range unwritten {
		if err := yieldUntilDone(&unwritten[i]); err != nil {
			return err
		}
	}
	end.Problems = append(end.Problems, files.Gaps(func(t time.Time) string { return t.Local().Format(time.RFC3339) })...)
	return nil
}
