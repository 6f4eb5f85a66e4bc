// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is a range of numbers, both ends included.
type Range[T uint16 | uint32] struct{ First, Last T }

// String returns "8000-8999", or "22" if both ends are the same.
func (r Range[T]) String() string {
	first := strconv.FormatUint(uint64(r.First), 10)
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.FormatUint(uint64(r.Last), 10)
}

func (r Range[T]) contains(n T) bool { return r.First <= n && n <= r.Last }

func (r Range[T]) compare(other Range[T]) int {
	return cmp.Or(cmp.Compare(r.First, other.First), cmp.Compare(r.Last, other.Last))
}

// joinRanges returns the ranges as in a conflist: "22,8000-8999".
func joinRanges[T uint16 | uint32](ranges []Range[T]) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// canonicalRanges returns the ranges sorted, with overlapping and adjacent ones joined.
func canonicalRanges[T uint16 | uint32](ranges []Range[T]) []Range[T] {
	var out []Range[T]
	for _, r := range slices.SortedFunc(slices.Values(ranges), Range[T].compare) {
		// In uint64, since the successor of the last number overflows.
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// rangeKind describes the numbers of ranges.
type rangeKind[T uint16 | uint32] struct {
	name    string // with its article, such as "a port"
	example string // of a list of ranges
	parse   func(string) (T, error)
}

// parseRanges parses numbers and ranges of numbers, separated by commas. It returns the valid ones in canonical form, and
// the errors of the others.
func (k *rangeKind[T]) parseRanges(s string) (ranges []Range[T], errs []error) {
	items := strings.Split(s, ",")
	if len(items) > maxRanges {
		errs = append(errs, fmt.Errorf("%d ranges, at most %d are allowed", len(items), maxRanges))
		items = items[:maxRanges] // the others are ignored
	}
	for _, item := range items {
		r, err := k.parseRange(strings.TrimSpace(item))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ranges = append(ranges, r)
	}
	return canonicalRanges(ranges), errs
}

func (k *rangeKind[T]) parseRange(s string) (r Range[T], err error) {
	if s == "" {
		return r, fmt.Errorf("%s is missing: want %s", k.name, k.example)
	}
	first, last, isRange := strings.Cut(s, "-")
	if r.First, err = k.parse(strings.TrimSpace(first)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last = r.First; !isRange {
		return r, nil
	}
	if r.Last, err = k.parse(strings.TrimSpace(last)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last < r.First {
		return r, fmt.Errorf("%s ends before it begins: write %q", quote(s), Range[T]{r.Last, r.First})
	}
	return r, nil
}
