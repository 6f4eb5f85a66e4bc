// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"strconv"
)

// UIDRange is a range of user IDs as the host sees them, both ends included.
type UIDRange = Range[uint32]

func uidKind() *rangeKind[uint32] {
	return &rangeKind[uint32]{"a user ID", `user IDs in a string such as "0,1000-1999"`, parseUID}
}

// uids reads user IDs from JSON.
func (c *collector) uids(path string, raw json.RawMessage) []UIDRange {
	k := uidKind()
	if uid, err := parseUID(string(raw)); err == nil {
		c.addf(path, "want %s, got the number %d: write \"%d\"", k.example, uid, uid)
		return nil
	}
	text, ok := c.text(path, raw, k.example)
	if !ok {
		return nil
	}
	uids, errs := k.parseRanges(text)
	for _, err := range errs {
		c.add(path, err)
	}
	return uids
}

func parseUID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("a user ID is a number from 0 to 4294967295")
	}
	return uint32(n), nil
}
