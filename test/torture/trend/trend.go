// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package trend decides whether a figure that is sampled over time rises beyond its noise, and draws it.
package trend

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Point is one sample.
type Point struct {
	At    time.Duration
	Value float64
}

// Series is a figure over time.
type Series struct {
	Name, Unit string
	Points     []Point
	// Least is the least increase that counts: a smaller one is of no interest even without noise.
	Least float64
}

// Add adds a sample.
func (s *Series) Add(at time.Duration, value float64) { s.Points = append(s.Points, Point{at, value}) }

// Between returns the series with the samples of a part of the time.
func (s *Series) Between(from, to time.Duration) Series {
	c := *s
	c.Points = slices.DeleteFunc(slices.Clone(s.Points), func(p Point) bool { return p.At < from || p.At > to })
	return c
}

// maxPairs bounds the pairs of which Slope takes the median.
const maxPairs = 1 << 20

// Slope estimates the increase in a second: the median slope of all pairs of a sample of the first half and one of the second
// (Theil and Sen, between halves). Up to a quarter of the samples may have any value.
func (s *Series) Slope() float64 {
	half := len(s.Points) / 2
	if half == 0 {
		return 0
	}
	early, late := s.Points[:half], s.Points[half:]
	step := 1 + half*len(late)/maxPairs
	var slopes []float64
	for i := 0; i < half; i += step {
		for _, p := range late {
			if d := (p.At - early[i].At).Seconds(); d > 0 {
				slopes = append(slopes, (p.Value-early[i].Value)/d)
			}
		}
	}
	return median(slopes)
}

// Increase returns by how much the line of Slope rises over all samples, and their noise: the spread of their distances from that
// line, by the median, scaled to a standard deviation.
func (s *Series) Increase() (increase, noise float64) {
	if len(s.Points) < 4 {
		return 0, 0
	}
	slope := s.Slope()
	distances := make([]float64, len(s.Points))
	for i, p := range s.Points {
		distances[i] = p.Value - slope*p.At.Seconds()
	}
	middle := median(slices.Clone(distances))
	for i := range distances {
		distances[i] = math.Abs(distances[i] - middle)
	}
	last := s.Points[len(s.Points)-1].At - s.Points[0].At
	return slope * last.Seconds(), 1.4826 * median(distances)
}

// IsRising reports whether the figure rises by more than twice its noise, and by at least Least.
func (s *Series) IsRising() bool {
	increase, noise := s.Increase()
	return increase >= s.Least && increase > 2*noise
}

// String returns a line with the figures at both ends and the curve.
func (s *Series) String() string {
	if len(s.Points) == 0 {
		return s.Name + ": no samples"
	}
	verdict := "flat"
	if s.IsRising() {
		verdict = "RISES"
	}
	increase, noise := s.Increase()
	columns := s.columns(48)
	first, last := columns[0], columns[len(columns)-1]
	return fmt.Sprintf("%-11s %8.2f %s %8.2f %-5s %+.2f in %v, noise %.2f: %s", s.Name, first, curve(columns), last, s.Unit,
		increase, (s.Points[len(s.Points)-1].At - s.Points[0].At).Round(time.Second), noise, verdict)
}

// columns returns the medians of up to n parts of the samples.
func (s *Series) columns(n int) []float64 {
	n = min(n, len(s.Points))
	all := make([]float64, n)
	for i := range all {
		var values []float64
		for _, p := range s.Points[i*len(s.Points)/n : (i+1)*len(s.Points)/n] {
			values = append(values, p.Value)
		}
		all[i] = median(values)
	}
	return all
}

// curve draws values between the least and the greatest of them.
func curve(values []float64) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	low, high := slices.Min(values), slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		level := 0
		if high > low {
			level = int((v - low) / (high - low) * float64(len(levels)-1))
		}
		b.WriteRune(levels[level])
	}
	return b.String()
}

// median returns the middle value, 0 without any. It sorts the values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
