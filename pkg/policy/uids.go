// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// UIDRange is a range of user IDs as the host sees them, both ends included.
type UIDRange struct{ First, Last uint32 }

const uidsExample = `user IDs in a string such as "0,1000-1999"`

// String returns "1000-1999", or "0" where both ends are the same.
func (r UIDRange) String() string {
	first := strconv.FormatUint(uint64(r.First), 10)
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.FormatUint(uint64(r.Last), 10)
}

func (r UIDRange) contains(uid uint32) bool { return r.First <= uid && uid <= r.Last }

func (r UIDRange) compare(other UIDRange) int {
	return cmp.Or(cmp.Compare(r.First, other.First), cmp.Compare(r.Last, other.Last))
}

func joinUIDs(uids []UIDRange) string {
	parts := make([]string, len(uids))
	for i, r := range uids {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// canonicalUIDs returns the ranges sorted, with ranges that overlap or touch made one.
func canonicalUIDs(uids []UIDRange) []UIDRange {
	var out []UIDRange
	for _, r := range slices.SortedFunc(slices.Values(uids), UIDRange.compare) {
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// uids reads user IDs from JSON.
func (c *collector) uids(path string, raw json.RawMessage) []UIDRange {
	if uid, err := parseUID(string(raw)); err == nil {
		c.addf(path, "want %s, got the number %d: write \"%d\"", uidsExample, uid, uid)
		return nil
	}
	text, ok := c.text(path, raw, uidsExample)
	if !ok {
		return nil
	}
	items := strings.Split(text, ",")
	if len(items) > maxRanges {
		c.addf(path, "%d ranges, at most %d are allowed", len(items), maxRanges)
		items = items[:maxRanges] // the others are not looked at
	}
	var uids []UIDRange
	for _, item := range items {
		r, err := parseUIDRange(strings.TrimSpace(item))
		if err != nil {
			c.add(path, err)
			continue
		}
		uids = append(uids, r)
	}
	return canonicalUIDs(uids)
}

func parseUIDRange(s string) (UIDRange, error) {
	if s == "" {
		return UIDRange{}, fmt.Errorf("a user ID is missing: want %s", uidsExample)
	}
	first, last, isRange := strings.Cut(s, "-")
	var (
		r   UIDRange
		err error
	)
	if r.First, err = parseUID(strings.TrimSpace(first)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last = r.First; !isRange {
		return r, nil
	}
	if r.Last, err = parseUID(strings.TrimSpace(last)); err != nil {
		return r, fmt.Errorf("%s: %w", quote(s), err)
	}
	if r.Last < r.First {
		return r, fmt.Errorf("%s ends before it begins: write %q", quote(s), UIDRange{r.Last, r.First})
	}
	return r, nil
}

func parseUID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("a user ID is a number from 0 to 4294967295")
	}
	return uint32(n), nil
}
