// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/state"
)

// processCPU returns the CPU time of this process.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCensusOf1000Records measures the CPU time of a change of one record, of a half minute without a change, and of reading
// everything, of which the others are shares.
func BenchmarkCensusOf1000Records(b *testing.B) {
	const namespaces, records = 250, 1000
	w := newTestWatcher(b)
	var list []state.Record
	for i := range namespaces {
		ns := nstest.New(b)
		id := identify(b, ns)
		for j := range records / namespaces {
			list = append(list, put(b, w, fmt.Sprintf("c-%d-%d", i, j), func(r *state.Record) {
				r.Netns = state.Netns{Path: ns.Path(), Identity: id}
			}))
		}
	}
	measure := func(work func(i int)) time.Duration {
		var cpu time.Duration
		for i := range b.N {
			before := processCPU(b)
			work(i)
			cpu += processCPU(b) - before
		}
		return cpu / time.Duration(b.N)
	}
	all := measure(func(int) {
		fresh := NewWatcher(w.Config)
		count(b.Context(), fresh, moment(0))
	})
	count(b.Context(), w, moment(0))
	var change time.Duration
	for i := range b.N {
		r := list[i%len(list)]
		r.Time = r.Time.Add(time.Duration(i+1) * time.Second)
		if err := w.Store.Put(r); err != nil {
			b.Fatal(err)
		}
		before := processCPU(b)
		w.turn(b.Context(), turn{files: []string{fileName(r)}}, moment(0))
		u, _ := w.roll.update()
		change += processCPU(b) - before
		if len(u.Namespaces) != 1 {
			b.Fatalf("%d namespaces have changed", len(u.Namespaces))
		}
	}
	change /= time.Duration(b.N)
	time.Sleep(120 * time.Millisecond) // the last change shows in its stamp from now on
	count(b.Context(), w, moment(0))
	quiet := measure(func(int) {
		w.turn(b.Context(), turn{all: true}, moment(0))
		for range records/maxSlice + 1 {
			w.turn(b.Context(), turn{slice: true}, moment(0))
		}
		if _, isChanged := w.roll.update(); isChanged {
			b.Fatal("something has changed")
		}
	})
	b.ReportMetric(float64(change.Microseconds()), "cpu-us/change")
	b.ReportMetric(float64(quiet.Microseconds()), "cpu-us/half-minute")
	b.ReportMetric(float64(all.Microseconds()), "cpu-us/everything")
	b.ReportMetric(100*float64(change)/float64(all), "%change")
	b.ReportMetric(100*float64(quiet)/float64(all), "%half-minute")
}
