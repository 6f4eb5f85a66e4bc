// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
)

// cursor is the selected row of a list that changes. It follows its row to other places in the list. Until the operator
// moves it, it stays on the first row.
type cursor struct {
	selected string // the row's key; "" is the first row, whatever its key
	index    int
	first    int // index of the first visible row
}

// locate finds the selected row in a changed list with room for height rows.
func (c *cursor) locate(keys []string, height int) {
	switch i := slices.Index(keys, c.selected); {
	case c.selected == "":
		c.index = 0
	case i >= 0:
		c.index = i
	}
	c.index = max(0, min(c.index, len(keys)-1)) // if the row has gone, its successor is selected
	c.show(len(keys), height)
}

// show scrolls to the selected row, as little as possible.
func (c *cursor) show(rows, height int) {
	height = max(1, height)
	c.first = min(c.first, c.index, max(0, rows-height))
	c.first = max(c.first, c.index-height+1, 0)
}

// move moves the cursor down by a number of rows, up if that is negative.
func (c *cursor) move(keys []string, by int) {
	if len(keys) == 0 {
		return
	}
	c.index = max(0, min(c.index+by, len(keys)-1))
	c.selected = keys[c.index]
	if c.index == 0 {
		c.selected = ""
	}
}

// position returns the range of visible rows, "" if all are visible.
func (c *cursor) position(rows, height int) string {
	if rows <= height {
		return ""
	}
	return fmt.Sprintf("%d-%d/%d", c.first+1, min(c.first+height, rows), rows)
}

// handleKey moves the cursor if k is a movement key, and reports whether it is.
func (c *cursor) handleKey(k key, keys []string, height int) bool {
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
