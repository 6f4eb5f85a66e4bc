// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"fmt"
	"strconv"
	"strings"
)

// Problem is one mistake in a policy file.
type Problem struct {
	Line   int `json:"line,omitempty"`   // from 1; 0 for the file as a whole
	Column int `json:"column,omitempty"` // in characters, from 1; 0 if it is unknown
	// Key is the path of the value, such as pods[0].set.grace; empty for the file as a whole.
	Key     string `json:"key,omitempty"`
	Message string `json:"message"` // the mistake, and its correction
}

// String returns "line 5, pods[0].set.grace: message", without the parts that are unknown.
func (p Problem) String() string {
	var where []string
	if p.Line > 0 {
		where = append(where, "line "+strconv.Itoa(p.Line))
	}
	if p.Key != "" {
		where = append(where, p.Key)
	}
	if len(where) == 0 {
		return p.Message
	}
	return strings.Join(where, ", ") + ": " + p.Message
}

// At returns "file:line:column: key: message", the form that editors and CI systems find the place by.
func (p Problem) At(file string) string {
	text := file + ":"
	if p.Line > 0 {
		text += strconv.Itoa(p.Line) + ":" + strconv.Itoa(max(p.Column, 1)) + ":"
	}
	if p.Key != "" {
		text += " " + p.Key + ":"
	}
	return text + " " + p.Message
}

// Problems are the mistakes in a file, by line and column. They are an error if there is any; Err returns nil otherwise.
type Problems []Problem

// Error returns every problem, joined by "; ".
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].String()
	}
	return strings.Join(texts, "; ")
}

// Err returns p as an error, nil if there is no problem.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// whole returns the problem of a file as a whole.
func whole(format string, args ...any) Problems {
	return Problems{{Message: fmt.Sprintf(format, args...)}}
}

// maxFirst is how many problems a status and a log message list.
const maxFirst = 16

// First returns the first problems, as many as a status and a log message list.
func (p Problems) First() Problems { return p[:min(len(p), maxFirst)] }
