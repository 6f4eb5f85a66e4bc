// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// fill writes two weeks of entries that fill the store: 256 MiB, or 8 MiB with -short.
func fill(b *testing.B, dir string) (last time.Time) {
	b.Helper()
	size := int64(history.MaxBytes)
	if testing.Short() {
		size = history.MaxSegmentBytes
	}
	w := history.NewWriter(history.WriterConfig{Dir: dir, Run: history.RunAt(time.Now()), Clock: monotime.Fake{}})
	ctx, cancel := context.WithCancel(context.Background())
	go w.Run(ctx)
	const entrySize = 560
	n := int(size / entrySize)
	last = time.Now()
	at := last.Add(-history.MaxAge)
	for i := range n {
		for w.Stats().Waiting > 3000 {
			time.Sleep(time.Millisecond)
		}
		e := entryAt(at, i+1, fmt.Sprint("checkout-7d9f8b6c5-", i%250))
		e.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 443)
		w.Append(history.KindEntry, at, e)
		at = at.Add(history.MaxAge / time.Duration(n))
	}
	cancel()
	<-w.Done()
	s := w.Stats()
	b.Logf("%d MiB in %d segments", s.Bytes>>20, s.Segments)
	return last
}

// BenchmarkAFullStore answers the questions of "halfclose history" from two weeks of history.
func BenchmarkAFullStore(b *testing.B) {
	dir := b.TempDir() + "/history"
	last := fill(b, dir)
	address, err := api.ParseEnds("10.1.2.3:443")
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		q    api.HistoryQuery
	}{
		{"tail=50", api.HistoryQuery{Tail: 50}},
		{"tail=50-of-one-pod", api.HistoryQuery{Tail: 50, EntryFilter: api.EntryFilter{PodQuery: api.PodQuery{Pod: "checkout-7d9f8b6c5-7"}}}},
		{"since=1h", api.HistoryQuery{EntryFilter: api.EntryFilter{Since: last.Add(-time.Hour)}}},
		{"address", api.HistoryQuery{EntryFilter: api.EntryFilter{Ends: address}}},
		{"all", api.HistoryQuery{}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			found := 0
			for b.Loop() {
				r, err := history.NewReader(dir)
				if err != nil {
					b.Fatal(err)
				}
				found = 0
				if err := r.Entries(&bb.q, nil, func(*api.Entry) error { found++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(found), "entries")
		})
	}
}
