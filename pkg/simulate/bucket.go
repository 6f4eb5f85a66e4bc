// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
)

// edges are the lower edges of the buckets from 1 on. Two neighbours are at most a factor of two apart. Each is also a grace
// that Suggest may return. A change needs another version of the files.
var edges = [...]time.Duration{
	1 * time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 7 * time.Second,
	10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second, 45 * time.Second,
	1 * time.Minute, 90 * time.Second, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 7 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 20 * time.Minute, 30 * time.Minute, 45 * time.Minute,
	1 * time.Hour, 90 * time.Minute, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour,
	12 * time.Hour, 16 * time.Hour, 24 * time.Hour, 36 * time.Hour, 48 * time.Hour, 72 * time.Hour, 96 * time.Hour, 168 * time.Hour,
}

// Shortest is the shortest grace that can be estimated.
const Shortest = time.Second

// Bucket is a range of durations: from edges[b-1], inclusive, to edges[b]. Bucket 0 is below edges[0].
type Bucket uint8

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) Bucket {
	i, found := slices.BinarySearch(edges[:], d)
	if found {
		i++
	}
	return Bucket(i)
}

// isAtLeast reports whether every duration in the bucket is d or longer.
func (b Bucket) isAtLeast(d time.Duration) bool { return b > 0 && edges[b-1] >= d }

// mayReach reports whether any duration in the bucket is d or longer.
func (b Bucket) mayReach(d time.Duration) bool { return int(b) >= len(edges) || edges[b] > d }

func (b Bucket) isValid() bool { return int(b) <= len(edges) }

// Histogram counts sockets by the bucket of a duration, without those of bucket 0. The zero value is empty.
type Histogram struct{ bins []bin } // by bucket in ascending order; no count is 0

type bin struct {
	bucket Bucket
	count  uint64
}

// add adds n sockets to a bucket.
func (h *Histogram) add(b Bucket, n uint64) {
	if b == 0 || n == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(h.bins, b, func(x bin, b Bucket) int { return cmp.Compare(x.bucket, b) })
	if found {
		h.bins[i].count += n
		return
	}
	h.bins = slices.Insert(h.bins, i, bin{b, n})
}

// merge adds the counts of another histogram.
func (h *Histogram) merge(o Histogram) {
	for _, x := range o.bins {
		h.add(x.bucket, x.count)
	}
}

// AtLeast returns how many sockets certainly have a duration of d or longer, if the buckets are of lower bounds.
func (h *Histogram) AtLeast(d time.Duration) (n uint64) {
	for _, x := range h.bins {
		if x.bucket.isAtLeast(d) {
			n += x.count
		}
	}
	return n
}

// MayReach returns how many sockets may have a duration of d or longer, if the buckets are of upper bounds and d is not below
// Shortest.
func (h *Histogram) MayReach(d time.Duration) (n uint64) {
	for _, x := range h.bins {
		if x.bucket.mayReach(d) {
			n += x.count
		}
	}
	return n
}

// IsZero reports whether it is empty, for the JSON option omitzero.
func (h Histogram) IsZero() bool { return len(h.bins) == 0 }

// MarshalJSON returns pairs of bucket and count.
func (h Histogram) MarshalJSON() ([]byte, error) {
	pairs := make([][2]uint64, 0, len(h.bins))
	for _, x := range h.bins {
		pairs = append(pairs, [2]uint64{uint64(x.bucket), x.count})
	}
	return json.Marshal(pairs)
}

var errHistogram = errors.New("a histogram is pairs of bucket and count, in ascending order")

// UnmarshalJSON parses the output of MarshalJSON, and no other form: two weeks have a million histograms.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	h.bins = nil
	rest, ok := bytes.CutPrefix(text, []byte("["))
	for last := uint64(0); ok && !bytes.Equal(rest, []byte("]")); {
		if len(h.bins) > 0 {
			if rest, ok = bytes.CutPrefix(rest, []byte(",")); !ok {
				break
			}
		}
		var pair []byte
		if pair, rest, ok = bytes.Cut(rest, []byte("]")); !ok {
			break
		}
		b, n, err := parsePair(pair)
		if err != nil || b <= last || b > uint64(len(edges)) || n == 0 || n > maxCount {
			return errHistogram
		}
		h.bins, last = append(h.bins, bin{Bucket(b), n}), b
	}
	if !ok {
		return errHistogram
	}
	return nil
}

// parsePair parses "[1,2" as 1 and 2.
func parsePair(text []byte) (a, b uint64, err error) {
	text, opened := bytes.CutPrefix(text, []byte("["))
	first, second, found := bytes.Cut(text, []byte(","))
	if !opened || !found {
		return 0, 0, errHistogram
	}
	a, err = strconv.ParseUint(string(first), 10, 64)
	if err == nil {
		b, err = strconv.ParseUint(string(second), 10, 64)
	}
	return a, b, err
}

// maxCount bounds the counts that are read: the sum of all files cannot overflow.
const maxCount = 1 << 48
