// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
)

// Problem is one mistake in a configuration.
type Problem struct {
	Path    string // a JSON path such as $.exempt[0].peers, "$" for the whole
	Message string // the mistake, and its correction
}

// String returns "path: message".
func (p Problem) String() string { return p.Path + ": " + p.Message }

// Problems are all mistakes in a configuration, in their order. Problems that are not empty are an error; Err returns nil
// for empty ones.
type Problems []Problem

// Error returns every problem, joined by "; ".
func (p Problems) Error() string { return strings.Join(p.Strings(), "; ") }

// Err returns p as an error, nil if there is no problem.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Strings returns each problem as "path: message"; nil if there is none.
func (p Problems) Strings() []string {
	var all []string
	for _, problem := range p {
		all = append(all, problem.String())
	}
	return all
}

// maxProblems bounds the listed problems of one configuration, since an attachment's record keeps them.
const maxProblems = 64

// maxHints bounds the searches for a misspelled name in one configuration: a search costs far more than its message, and
// the author of a configuration may be a tenant.
const maxHints = 64

// collector collects problems while a configuration is read.
type collector struct {
	problems Problems
	most     int // maximum number of kept problems; 0 is no limit
	dropped  int // number of others
	hints    int
}

// count returns the number of problems, kept or not.
func (c *collector) count() int { return len(c.problems) + c.dropped }

// bounded returns the kept problems, followed by one with the number of the others.
func (c *collector) bounded() Problems {
	if c.dropped == 0 {
		return c.problems
	}
	return append(c.problems, Problem{Path: "$", Message: fmt.Sprintf("and %d more", c.dropped)})
}

// isFull reports whether further problems are only counted.
func (c *collector) isFull() bool { return c.most > 0 && len(c.problems) >= c.most }

// nearest calls the function nearest, at most maxHints times.
func (c *collector) nearest(s string, names []string) (string, bool) {
	if c.hints++; c.isFull() || c.hints > maxHints {
		return "", false
	}
	return Nearest(s, names)
}

func (c *collector) addf(path, format string, args ...any) {
	if c.isFull() {
		c.dropped++
		return
	}
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// add adds a problem with an error's text.
func (c *collector) add(path string, err error) { c.addf(path, "%s", err) }

// child returns the path of a key, which is quoted unless it is a plain name.
func child(path, key string) string {
	if isName(key) {
		return path + "." + key
	}
	return path + "[" + quote(key) + "]"
}

// ChildPath returns the path of a key in an object, as in Problem.Path.
func ChildPath(path, key string) string { return child(path, key) }

// IndexPath returns the path of an element of a list, as in Problem.Path.
func IndexPath(path string, i int) string { return index(path, i) }

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

// maxQuoted is the number of bytes of a value that a message shows.
const maxQuoted = 64

// quote returns a value of foreign origin, escaped and cut short.
func quote(s string) string { return safetext.Quote(s, maxQuoted) }
