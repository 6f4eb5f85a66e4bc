// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/halfclose/halfclose/internal/bounded"
	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/pkg/policy"
)

// DefaultPath is the policy file unless --policy-file names another.
const DefaultPath = "/etc/halfclose/policy.yaml"

// Location is where a policy file is.
type Location struct {
	Path string // absolute; empty if there is none
	// Named is set if an operator has named the file, so that its absence is a mistake.
	Named bool
	// Copy is the file of the last good content, as CopyPath returns it. If it is empty, nothing survives a restart.
	Copy string
	// Wrote is called with the outcome of each attempt to write the copy; nil is success. It may be nil.
	Wrote func(err error)
}

// Current is a policy file as it is now, and what is in force. Its File is not changed.
type Current struct {
	Path string
	// File is in force; nil if there is no file, or no good one.
	File *File
	// Since is when the content in force was first read, by the wall clock; Digest is the start of its SHA-256. Both are zero
	// without File.
	Since  time.Time
	Digest string
	// Problems are the mistakes in the file as it is now. If there is any, File is the last good one.
	Problems Problems
	// CopyProblem is why the content in force would not survive a restart, empty if it would.
	CopyProblem string
}

// Stale reports whether the file is wrong and the last good one is in force.
func (c *Current) Stale() bool { return len(c.Problems) > 0 && c.File != nil }

// SourceWrong is the source of mode observe while the file is wrong and there is no last good one.
const SourceWrong = "wrong policy file"

// Resolve returns the policies of an attachment. It raises patiences below minGrace to it.
func (c *Current) Resolve(l policy.Layers, facts Facts, minGrace time.Duration) policy.Resolved {
	file := c.File
	if file == nil {
		file = &File{}
		if len(c.Problems) > 0 && l.Observe == "" {
			l.Observe = SourceWrong
		}
	}
	return file.Resolve(l, facts, minGrace)
}

// Same reports whether both give every attachment the same policies.
func (c *Current) Same(other *Current) bool {
	return c.File == other.File && (c.File != nil || (len(c.Problems) > 0) == (len(other.Problems) > 0))
}

// equal reports whether both are the same for a reader of the status.
func (c *Current) equal(other *Current) bool {
	return c.Same(other) && slices.Equal(c.Problems, other.Problems) && c.CopyProblem == other.CopyProblem
}

// The times of a Follower. With those of the reaper's census, a change takes effect within a second.
const (
	debounce     = 50 * time.Millisecond
	recheck      = 5 * time.Second // without a change
	poll         = 500 * time.Millisecond
	retry        = 100 * time.Millisecond // of a file that is being written or replaced
	maxWriteTime = 5 * time.Second
	maxGoneTime  = time.Second // some editors move a file away before they write the new one
)

// Follower follows a policy file.
type Follower struct {
	at       Location
	wall     func() time.Time
	notify   *dirwatch.Instance
	changes  chan Current // the latest; capacity 1
	requests chan chan<- Current
	reader   reader
}

// NewFollower returns a follower. It does nothing until Run. wall returns the wall-clock time, notify reports changes.
func NewFollower(at Location, wall func() time.Time, notify *dirwatch.Instance) *Follower {
	return &Follower{
		at: at, wall: wall, notify: notify, changes: make(chan Current, 1), requests: make(chan chan<- Current),
		reader: reader{at: at, wall: wall},
	}
}

// Changes receives the policy file when Run starts, and again after each change of Current. Each value replaces those before it.
func (f *Follower) Changes() <-chan Current { return f.changes }

// Refresh reads the file now and returns it. Run must be running; it returns false if ctx is done first.
func (f *Follower) Refresh(ctx context.Context) (Current, bool) {
	answer := make(chan Current, 1)
	select {
	case f.requests <- answer:
	case <-ctx.Done():
		return Current{}, false
	}
	select {
	case c := <-answer:
		return c, true
	case <-ctx.Done():
		return Current{}, false
	}
}

// Run follows the file until ctx is done.
func (f *Follower) Run(ctx context.Context) error {
	dirs := f.notify.Watch(dirwatch.Config{Debounce: debounce, Recheck: recheck, Poll: poll})
	defer dirs.Close()
	var last Current
	var waiting chan<- Current
	var watched []string
	for first := true; ; first = false {
		_ = dirs.Follow(watched...) // else it polls
		now := f.reader.read()
		if !slices.Equal(watched, f.reader.dirs) { // read again: a change between the two was not announced
			watched = f.reader.dirs
			_ = dirs.Follow(watched...)
			now = f.reader.read()
		}
		if first || !now.equal(&last) {
			f.publish(now)
			last = now
		}
		if waiting != nil {
			waiting <- now // never blocks: capacity 1
			waiting = nil
		}
		if problem := f.reader.save(); problem != last.CopyProblem {
			last.CopyProblem = problem
			f.publish(last)
		}
		interval := dirs.Interval()
		if !f.reader.changingSince.IsZero() {
			interval = retry
		}
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-dirs.Changes():
		case waiting = <-f.requests:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// publish replaces the value in changes.
func (f *Follower) publish(c Current) {
	select {
	case <-f.changes:
	default:
	}
	f.changes <- c // never blocks: capacity 1, and this is the only sender
}

// reader reads a policy file and remembers the last good one.
type reader struct {
	at     Location
	wall   func() time.Time
	loaded bool
	last   *good
	// lost is why the last good file is unknown although there was one.
	lost error

	dirs          []string  // whose changes may change the file
	changingSince time.Time // since when the file has been in the state of being written or replaced; zero if it is not
	current       Current

	pending <-chan bounded.Result[contents] // receives those of a reading that has not returned; nil without one

	unsaved     bool // last is not in the copy
	forget      bool // remove the copy
	copyProblem string
}

// read reads the file.
func (r *reader) read() Current {
	if r.at.Path == "" {
		return Current{}
	}
	if !r.loaded {
		r.loaded = true
		if r.at.Copy != "" {
			r.last, r.lost = loadCopy(r.at.Copy, r.at.Path)
		}
	}
	data, dirs, err := r.readFile()
	r.dirs = dirs
	if r.isChanging(err) {
		return r.current
	}
	r.current = r.take(data, err)
	return r.current
}

// isChanging reports whether the file is likely to be complete in a moment: it is open for writing, or has just been moved
// away.
func (r *reader) isChanging(err error) bool {
	patience := maxWriteTime
	if errors.Is(err, errAbsent) {
		patience = maxGoneTime
	} else if !errors.Is(err, errChanging) {
		patience = 0
	}
	if patience == 0 || r.current.File == nil || len(r.current.Problems) > 0 {
		r.changingSince = time.Time{}
		return false
	}
	if r.changingSince.IsZero() {
		r.changingSince = r.wall()
	}
	waited := r.wall().Sub(r.changingSince)
	return waited >= 0 && waited < patience
}

// take returns the file with this content, or that cannot be read.
func (r *reader) take(data []byte, err error) Current {
	isGone := errors.Is(err, errAbsent)
	switch {
	case isGone && !r.at.Named && r.lost == nil && (r.last == nil || r.last.file.IsEmpty()):
		r.forget, r.unsaved, r.last = r.last != nil || r.forget, false, nil
		return Current{Path: r.at.Path, CopyProblem: r.copyProblem}
	case isGone:
		return r.wrong(whole("%s", r.goneText()))
	case err != nil:
		return r.wrong(whole("cannot read the file: %s", err))
	}
	if r.last == nil || r.last.text != string(data) {
		file, problems := Parse(data, nameOf(r.at.Path))
		if len(problems) > 0 {
			return r.wrong(problems)
		}
		r.last = newGood(r.at.Path, string(data), &file, r.wall().UTC())
		r.unsaved, r.forget = true, false
	}
	if r.lost != nil { // the copy is replaced
		r.lost, r.unsaved = nil, true
	}
	return r.inForce(nil)
}

func (r *reader) goneText() string {
	const remedy = `restore it, or write "version: 1" and "pods: []" into it for no entries`
	if r.last == nil && r.lost == nil {
		return "the file does not exist, and --policy-file names it: " + remedy
	}
	return "the file was deleted: " + remedy
}

// wrong returns the last good file, with the problems of the current one.
func (r *reader) wrong(problems Problems) Current {
	if r.last == nil && r.lost != nil {
		problems = append(problems, Problem{Message: "there is no last good file: " + r.lost.Error()})
	}
	return r.inForce(problems)
}

func (r *reader) inForce(problems Problems) Current {
	c := Current{Path: r.at.Path, Problems: problems, CopyProblem: r.copyProblem}
	if r.last != nil {
		c.File, c.Since, c.Digest = r.last.file, r.last.since, r.last.digest
	}
	return c
}

// save brings the copy up to date, and returns why it could not.
func (r *reader) save() string {
	if r.at.Copy == "" {
		return ""
	}
	var err error
	tried := r.unsaved || r.forget
	switch {
	case r.unsaved:
		if err = saveCopy(r.at.Copy, r.last); err == nil {
			r.unsaved = false
		}
	case r.forget:
		if err = removeCopy(r.at.Copy); err == nil {
			r.forget = false
		}
	}
	if r.at.Wrote != nil && tried {
		r.at.Wrote(err)
	}
	r.copyProblem = ""
	if err != nil {
		r.copyProblem = fmt.Sprintf("%s: after a restart with a wrong file every pod is only observed", err)
	}
	return r.copyProblem
}
