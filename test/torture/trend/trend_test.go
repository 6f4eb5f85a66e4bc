// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package trend_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/test/torture/trend"
)

// sampled returns a sample each second for ten minutes.
func sampled(least float64, value func(i int) float64) *trend.Series {
	s := &trend.Series{Name: "rss", Unit: "MiB", Least: least}
	for i := range 600 {
		s.Add(time.Duration(i)*time.Second, value(i))
	}
	return s
}

func TestOnlyWhatRisesBeyondItsNoiseRises(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sawtooth := func(i int) float64 { return float64(i % 37) } // a heap and its collector
	for name, tt := range map[string]struct {
		value func(i int) float64
		want  bool
	}{
		"constant":                   {func(int) float64 { return 30 }, false},
		"noise":                      {func(int) float64 { return 30 + 2*r.NormFloat64() }, false},
		"a sawtooth":                 {func(i int) float64 { return 30 + sawtooth(i) }, false},
		"falls":                      {func(i int) float64 { return 90 - float64(i)/10 }, false},
		"less than counts":           {func(i int) float64 { return 30 + float64(i)/1000 }, false},
		"peaks now and then":         {func(i int) float64 { return 30 + 500*float64(i/97%2)*float64(i%97/90) }, false},
		"a leak":                     {func(i int) float64 { return 30 + float64(i)/60 }, true},
		"a leak in noise":            {func(i int) float64 { return 30 + float64(i)/60 + 2*r.NormFloat64() }, true},
		"a leak in a sawtooth":       {func(i int) float64 { return 30 + float64(i)/8 + sawtooth(i) }, true},
		"a leak that begins at half": {func(i int) float64 { return 30 + max(0, float64(i-300)/10) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := sampled(1, tt.value)
			if got := s.IsRising(); got != tt.want {
				t.Errorf("rising: %v, want %v\n%s", got, tt.want, s)
			}
			if says := strings.Contains(s.String(), "RISES"); says != tt.want {
				t.Errorf("%s", s)
			}
		})
	}
}

func TestTheSlopeIsThatOfTheLineWhateverAQuarterOfTheSamplesIs(t *testing.T) {
	s := sampled(1, func(i int) float64 {
		if i%5 == 0 {
			return 1e6
		}
		return 30 + float64(i)/10
	})
	if got := s.Slope(); math.Abs(got-0.1) > 0.01 {
		t.Errorf("the slope is %v, want 0.1", got)
	}
}

func TestFewSamplesRiseNever(t *testing.T) {
	s := &trend.Series{Name: "rss", Least: 1}
	for i := range 3 {
		if s.IsRising() {
			t.Errorf("%d samples rise", i)
		}
		s.Add(time.Duration(i)*time.Second, float64(100*i))
		if s.String() == "" {
			t.Error("nothing is drawn")
		}
	}
}
