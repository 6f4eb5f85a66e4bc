// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Path    string // where: a JSON path such as $.exempt[0].peers, "$" for the whole
	Message string // what, and what to write instead
}

// String returns "path: message".
func (p Problem) String() string { return p.Path + ": " + p.Message }

// Problems are all the things that are wrong with a configuration, in the order in which they stand in it.
// A non-empty one is an error; use Err where an empty one must be nil.
type Problems []Problem

// Error returns every problem, joined by "; ".
func (p Problems) Error() string { return strings.Join(p.Strings(), "; ") }

// Err returns p as an error, nil when there is no problem.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Strings returns each problem as "path: message"; nil when there is none.
func (p Problems) Strings() []string {
	var all []string
	for _, problem := range p {
		all = append(all, problem.String())
	}
	return all
}

// maxProblems is how many problems of one configuration are listed one by one: an attachment's record keeps them.
const maxProblems = 64

// maxHints is how often the name that was probably meant is looked for in one configuration: the search costs
// far more than the message, and the author of a configuration may be a tenant.
const maxHints = 64

// collector gathers problems while a configuration is read.
type collector struct {
	problems Problems
	most     int // how many are kept; 0 is all
	dropped  int // how many were not
	hints    int
}

// count returns how many problems there are, kept or not.
func (c *collector) count() int { return len(c.problems) + c.dropped }

// bounded returns the problems that are kept, with one more that says how many are not.
func (c *collector) bounded() Problems {
	if c.dropped == 0 {
		return c.problems
	}
	return append(c.problems, Problem{Path: "$", Message: fmt.Sprintf("and %d more", c.dropped)})
}

// isFull reports whether a further problem would not be kept.
func (c *collector) isFull() bool { return c.most > 0 && len(c.problems) >= c.most }

// nearest returns the one of names that s was probably meant to be, until the hints are used up.
func (c *collector) nearest(s string, names []string) (string, bool) {
	if c.hints++; c.isFull() || c.hints > maxHints {
		return "", false
	}
	return nearest(s, names)
}

func (c *collector) addf(path, format string, args ...any) {
	if c.isFull() {
		c.dropped++
		return
	}
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// add takes an error's text as the message.
func (c *collector) add(path string, err error) { c.addf(path, "%s", err) }

// child is the path of a key; a key that is no plain name is quoted.
func child(path, key string) string {
	if isName(key) {
		return path + "." + key
	}
	return path + "[" + quote(key) + "]"
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxQuoted
}

// maxQuoted is how many bytes of a value a message shows.
const maxQuoted = 64

// quote returns a value of foreign origin, escaped and cut short.
func quote(s string) string { return safetext.Quote(s, maxQuoted) }
