// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
)

// BenchmarkAdd adds a socket that has ended, as after each destroy.
func BenchmarkAdd(b *testing.B) {
	h, track := randomConnection(rand.New(rand.NewPCG(1, 7))).watch()
	table := Table{}
	b.ReportAllocs()
	for b.Loop() {
		table.Add(Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x4z"}, &h, &track, Destroyed, h.Last)
	}
}

// BenchmarkContinue records a look, as after each look of a finder.
func BenchmarkContinue(b *testing.B) {
	h := policy.History{Start: model, Last: model}
	var track Track
	track.Begin(&h, 0, Verdict{Eligible: true})
	for b.Loop() {
		next := h
		next.Last = next.Last.Add(time.Second)
		track.Continue(&h, &next)
		track.Set(Verdict{Eligible: true, Grace: time.Hour})
	}
}

// BenchmarkTwoWeeks reads the idle times of 250 pods in two weeks, and suggests a grace; with BENCH_SHORT, of a day.
func BenchmarkTwoWeeks(b *testing.B) {
	hours := 14 * 24
	if os.Getenv("BENCH_SHORT") != "" {
		hours = 24
	}
	s := NewStore(b.TempDir())
	r := rand.New(rand.NewPCG(1, 8))
	for i := range hours {
		h := NewHour(hour.Add(-time.Duration(i) * time.Hour))
		h.Written = h.Start.Add(time.Hour)
		for pod := range 250 {
			for range 4 {
				c := randomConnection(r)
				history, track := c.watch()
				h.Ended.Add(Pod{Namespace: "shop", Name: fmt.Sprintf("checkout-7d9f8b6c5-%05d", pod)}, &history, &track, c.how, c.noticed)
			}
		}
		if err := s.Write(h); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		all, problems, err := s.Since(time.Time{}, hour)
		if err != nil || len(problems) > 0 || len(all) != hours {
			b.Fatal(len(all), problems, err)
		}
		NewData(all).Suggest(Query{ProbeAfter: policy.Never})
	}
}
