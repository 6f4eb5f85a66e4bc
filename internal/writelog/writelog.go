// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package writelog keeps the outcome of the latest write of each file, so that status, metrics and alerts show a failure
// until a write succeeds. The log line about the failure may be days old by then.
package writelog

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Log has the latest outcome of writing each of a process's files. The zero value is ready, and a nil *Log ignores every
// outcome. Its methods are safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	files map[string]*file
}

type file struct {
	path   string
	err    string // of the latest write, "" if it succeeded
	since  time.Time
	errors uint64
}

// Failure is a file that could not be written when that was last tried.
type Failure struct {
	Name   string    // constant, such as "candidates"
	Path   string    // of the file
	Err    string    // of the latest attempt
	Since  time.Time // of the first failed attempt after the last success
	Errors uint64    // failed attempts since the start of the process
}

// Report stores the outcome of a write to the file of that name at path: nil is success. It returns whether the outcome
// differs from the previous one, which is a reason to log it.
func (l *Log) Report(name, path string, err error, now time.Time) (isNew bool) {
	if l == nil {
		return err != nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(name)
	f.path = path
	if err == nil {
		isNew, f.err = f.err != "", ""
		return isNew
	}
	if isNew = f.err == ""; isNew {
		f.since = now
	}
	f.err = err.Error()
	f.errors++
	return isNew
}

// Expect makes Errors return the names with 0 until a write fails.
func (l *Log) Expect(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		l.file(name)
	}
}

func (l *Log) file(name string) *file {
	f := l.files[name]
	if f == nil {
		if l.files == nil {
			l.files = make(map[string]*file)
		}
		f = new(file)
		l.files[name] = f
	}
	return f
}

// Failures returns the files whose latest write failed, by name.
func (l *Log) Failures() []Failure {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Failure
	for name, f := range l.files {
		if f.err != "" {
			list = append(list, Failure{Name: name, Path: f.path, Err: f.err, Since: f.since, Errors: f.errors})
		}
	}
	slices.SortFunc(list, func(a, b Failure) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Errors returns the number of failed writes of each file.
func (l *Log) Errors() map[string]uint64 {
	counts := make(map[string]uint64)
	if l == nil {
		return counts
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.files {
		counts[name] = f.errors
	}
	return counts
}
