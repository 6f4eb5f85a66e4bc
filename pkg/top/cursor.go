// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
)

// cursor is where somebody is in a list whose rows come, go and change places. It stays with the row that was
// chosen; as long as none was, it stays at the first.
type cursor struct {
	chosen string // the row's key, "" for whatever comes first
	at     int
	first  int // the row that is shown first
}

// settle finds the row again in a list of which so many rows are shown.
func (c *cursor) settle(keys []string, height int) {
	switch i := slices.Index(keys, c.chosen); {
	case c.chosen == "":
		c.at = 0
	case i >= 0:
		c.at = i
	}
	c.at = max(0, min(c.at, len(keys)-1)) // of a row that has gone, the next is chosen instead
	c.show(len(keys), height)
}

// show scrolls no more than it takes.
func (c *cursor) show(rows, height int) {
	height = max(1, height)
	c.first = min(c.first, c.at, max(0, rows-height))
	c.first = max(c.first, c.at-height+1, 0)
}

// move goes so many rows down.
func (c *cursor) move(keys []string, by int) {
	if len(keys) == 0 {
		return
	}
	c.at = max(0, min(c.at+by, len(keys)-1))
	c.chosen = keys[c.at]
	if c.at == 0 {
		c.chosen = ""
	}
}

// position says which rows are shown, "" if all are.
func (c *cursor) position(rows, height int) string {
	if rows <= height {
		return ""
	}
	return fmt.Sprintf("%d–%d/%d", c.first+1, min(c.first+height, rows), rows)
}

// moved takes the keys that move a cursor, and reports whether k was one.
func (c *cursor) moved(k key, keys []string, height int) bool {
	page := max(1, height-1)
	by, ok := map[key]int{
		keyUp: -1, "k": -1, keyDown: 1, "j": 1, keyPageUp: -page, keyPageDown: page,
		keyHome: -len(keys), "g": -len(keys), keyEnd: len(keys), "G": len(keys),
	}[k]
	if ok {
		c.move(keys, by)
	}
	return ok
}
