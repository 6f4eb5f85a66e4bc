// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// runLayout formats the time at which a reaper started, as Writer's Run. Texts of it sort by time.
const runLayout = "2006-01-02T15:04:05.000000000Z"

// RunAt returns the Run of a reaper that started at a time.
func RunAt(began time.Time) string { return began.UTC().Format(runLayout) }

// Skip reports whether an entry of a run is left out. It may change the entry.
type Skip func(run string, e *api.Entry) bool

// Entries yields the entries that a query selects, the newest last, until yield returns an error; q.Wait, and q.After of the
// run of another history have no effect here. skip, unless nil, leaves out entries; it may change an entry. The error is yield's.
func (r *Reader) Entries(q *api.HistoryQuery, skip Skip, yield func(*api.Entry) error) error {
	lines := Query{Since: q.Since, Until: q.Until, Kinds: []Kind{KindEntry, KindLost}, Match: matchEnds(q.Ends)}
	if q.Tail > 0 {
		return r.tail(q, lines, skip, yield)
	}
	for line := range r.Forward(lines) {
		e, ok := r.entry(&line, q, skip)
		if !ok {
			continue
		}
		if err := yield(&e); err != nil {
			return err
		}
	}
	return nil
}

// tail yields the last entries.
func (r *Reader) tail(q *api.HistoryQuery, lines Query, skip Skip, yield func(*api.Entry) error) error {
	var list []api.Entry
	for line := range r.Backward(lines) {
		if e, ok := r.entry(&line, q, skip); ok {
			if list = append(list, e); len(list) == q.Tail {
				break
			}
		}
	}
	for i := range slices.Backward(list) {
		if err := yield(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// After returns up to limit entries that were written after the entry seq of a run: those of this run, and of the later runs.
// They are the newest ones, the newest last; isWhole reports whether there are no more.
func (r *Reader) After(run string, seq uint64, limit int, skip Skip) (list []api.Entry, isWhole bool) {
	began, err := time.Parse(runLayout, run)
	if err != nil {
		return nil, false
	}
	var known time.Time // of an entry up to seq
	for line := range r.Backward(Query{Since: began, Kinds: []Kind{KindEntry}}) {
		if !known.IsZero() && line.At.Before(known.Add(-slack)) {
			break // entries of a run are written a little out of order
		}
		e, ok := r.entry(&line, &api.HistoryQuery{}, skip)
		switch {
		case !ok || line.Run < run:
			continue
		case line.Run == run && e.Seq <= seq:
			if known.IsZero() {
				known = line.At
			}
			continue
		}
		if len(list) == limit {
			slices.Reverse(list)
			return list, false
		}
		list = append(list, e)
	}
	slices.Reverse(list)
	return list, true
}

// entry parses an entry. It counts a line that is none as skipped, and a loss as a problem.
func (r *Reader) entry(line *Line, q *api.HistoryQuery, skip Skip) (e api.Entry, ok bool) {
	if line.Kind == KindLost {
		var loss Loss
		if line.Decode(&loss) == nil && loss.Lines > 0 {
			r.losses = append(r.losses, loss)
		}
		return e, false
	}
	if err := line.Decode(&e); err != nil || !slices.Contains(api.Outcomes(), e.Outcome) {
		r.skipped++
		return e, false
	}
	if skip != nil && skip(line.Run, &e) {
		return e, false
	}
	return e, q.Wants(&e)
}

// matchEnds returns a Query's Match for the ends of a connection.
func matchEnds(ends api.Ends) func([]byte) bool {
	var parts [][]byte
	for _, d := range []api.End{ends.A, ends.B} {
		if d.IsValid() {
			parts = append(parts, []byte(d.Addr().String()))
		}
	}
	if parts == nil {
		return nil
	}
	several, lost := []byte(`,"count":`), []byte(beforeKind+string(KindLost))
	return func(line []byte) bool {
		if bytes.HasPrefix(line, lost) || len(parts) > 1 && bytes.Contains(line, several) { // which may lack one of the two
			return true
		}
		for _, part := range parts {
			if !bytes.Contains(line, part) {
				return false
			}
		}
		return true
	}
}

// Gaps describes what the iterations lack: lost entries, skipped lines and unreadable segments.
func (r *Reader) Gaps(format func(time.Time) string) []string {
	list := r.Problems()
	if r.skipped > 0 {
		list = append(list, fmt.Sprintf("%d damaged lines are skipped", r.skipped))
	}
	for _, loss := range r.losses[:min(len(r.losses), maxGaps)] {
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%d entries from %s to %s are lost: %s", loss.Lines, format(loss.From), format(loss.To), loss.Why), ": "))
	}
	if n := len(r.losses) - maxGaps; n > 0 {
		list = append(list, fmt.Sprintf("and %d more losses", n))
	}
	return list
}

// maxGaps bounds the losses that Gaps describes one by one.
const maxGaps = 5
