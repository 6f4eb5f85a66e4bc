// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"time"
)

// Query selects lines.
type Query struct {
	Since time.Time // the earliest time; zero: from the beginning
	Until time.Time // the latest time; zero: to the end
	Kinds []Kind    // nil: all
	// Match is called with each line of these times and kinds before it is parsed, and reports whether it may be wanted.
	// It makes a search for an address ten times as fast. nil selects all.
	Match func(line []byte) bool
}

// slack is how far the times of the lines of one segment may go back: sums and would-destroys are written up to a minute late.
// The Writer starts a segment where they go back further.
const slack = 5 * time.Minute

func (q *Query) selects(l *Line) bool {
	return (q.Since.IsZero() || !l.At.Before(q.Since.Truncate(time.Microsecond))) && (q.Until.IsZero() || !l.At.After(q.Until)) &&
		(q.Kinds == nil || slices.Contains(q.Kinds, l.Kind)) && (q.Match == nil || q.Match(l.JSON))
}

// Reader reads the history of a node, while a reaper writes it or without one. It is not safe for concurrent use.
type Reader struct {
	dir      string
	segments []segment
	problems map[string]string // by segment
	skipped  int               // lines that the iterations skipped: cut, foreign or damaged ones
	losses   []Loss
}

// NewReader lists the segments in a directory (see Dir). A directory that does not exist is an empty history. It needs the
// user to whom the directory belongs, usually root.
func NewReader(dir string) (*Reader, error) {
	list, err := listSegments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return &Reader{dir: dir, segments: list, problems: make(map[string]string)}, nil
}

// IsEmpty reports whether there is no segment.
func (r *Reader) IsEmpty() bool { return len(r.segments) == 0 }

// Problems describes the segments that the iterations could not read as a whole.
func (r *Reader) Problems() []string {
	var list []string
	for _, s := range r.segments {
		if text := r.problems[s.name]; text != "" {
			list = append(list, s.name+": "+text)
		}
	}
	return list
}

// Oldest returns the time of the oldest readable segment, and false without one.
func (r *Reader) Oldest() (time.Time, bool) {
	for _, s := range r.segments {
		f, _, err := openSegment(r.dir, s.name)
		if err != nil {
			continue
		}
		head, err := readHead(f)
		f.Close()
		if err == nil {
			return head.At, true
		}
	}
	return time.Time{}, false
}

// Forward yields lines in the order of writing. It skips what cannot be read; see Gaps.
func (r *Reader) Forward(q Query) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for i := range r.segments {
			if !r.read(i, &q, false, yield) {
				return
			}
		}
	}
}

// Backward yields lines against the order of writing: the newest first.
func (r *Reader) Backward(q Query) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for i := range slices.Backward(r.segments) {
			if !r.read(i, &q, true, yield) {
				return
			}
		}
	}
}

// read yields the selected lines of one segment. It reports false if yield wants no more.
func (r *Reader) read(i int, q *Query, backward bool, yield func(Line) bool) (more bool) {
	s := &r.segments[i]
	f, size, err := openSegment(r.dir, s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return true // it has reached its age
	}
	if err != nil {
		r.problems[s.name] = err.Error()
		return true
	}
	defer f.Close()
	head, err := readHead(f)
	switch {
	case err == nil && !q.Until.IsZero() && head.At.After(q.Until.Add(slack)):
		return true
	case err == nil && !q.Since.IsZero():
		if last, _, ok := readLast(f, size); ok && last.At.Before(q.Since.Add(-slack)) {
			return true
		}
	case err != nil && !errors.Is(err, errDamaged):
		r.problems[s.name] = err.Error()
		return true
	case err != nil:
		r.problems[s.name] = err.Error() // its other lines may be good
	}
	more = true
	isActive := i == len(r.segments)-1
	each := func(b []byte, isWhole bool) bool {
		line, ok := parseLine(b)
		switch {
		case !ok || !isWhole:
			if isWhole || !isActive { // the last line of the last segment is being written
				r.skipped++
			}
			return true
		case line.Kind == kindSegment:
			return true
		case q.selects(&line):
			more = yield(line)
			return more
		case err != nil: // without a head, the order of its times is unknown
			return true
		case backward:
			return q.Since.IsZero() || !line.At.Before(q.Since.Add(-slack))
		}
		return q.Until.IsZero() || !line.At.After(q.Until.Add(slack))
	}
	walk := forwardLines
	if backward {
		walk = backwardLines
	}
	if err := walk(f, size, each); err != nil {
		r.problems[s.name] = err.Error()
	}
	return more
}

// chunk is the size of a read.
const chunk = 128 << 10

// forwardLines calls each with every line of a file, without its newline, until it returns false. isWhole is false for a
// line without a newline at the end of the file, and for one that is longer than maxLine, of which it gets a part.
func forwardLines(f io.ReaderAt, size int64, each func(line []byte, isWhole bool) bool) error {
	buf := make([]byte, 0, chunk+4096)
	isCut := false // the beginning of the line was dropped
	for pos := int64(0); pos < size; {
		n, err := readChunk(f, &buf, pos, min(chunk, size-pos))
		if err != nil {
			return err
		}
		if n == 0 {
			break // the file was truncated
		}
		pos += int64(n)
		rest := buf
		for {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			if !each(line, !isCut && len(line) <= maxLine) {
				return nil
			}
			rest, isCut = after, false
		}
		if len(rest) > maxLine {
			rest, isCut = nil, true
		}
		buf = buf[:copy(buf, rest)]
	}
	if len(buf) > 0 || isCut {
		each(buf, false)
	}
	return nil
}

// readChunk appends up to n bytes at pos to buf.
func readChunk(f io.ReaderAt, buf *[]byte, pos, n int64) (int, error) {
	*buf = slices.Grow(*buf, int(n))
	got, err := f.ReadAt((*buf)[len(*buf):len(*buf)+int(n)], pos)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	*buf = (*buf)[:len(*buf)+got]
	return got, err
}

// backwardLines is forwardLines from the end of the file to its beginning.
func backwardLines(f io.ReaderAt, size int64, each func(line []byte, isWhole bool) bool) error {
	var tail, buf []byte // tail is the end of the line that the next chunk continues
	isWhole := false     // the bytes in hand end with a newline that was seen
	isCut := false
	for pos := size; pos > 0; {
		n := min(chunk, pos)
		buf = buf[:0]
		got, err := readChunk(f, &buf, pos-n, n)
		if err != nil {
			return err
		}
		if int64(got) < n { // the file was truncated: what is behind is gone
			tail, isWhole, isCut = nil, false, false
		}
		pos -= n
		rest := buf
		for {
			i := bytes.LastIndexByte(rest, '\n')
			if i < 0 {
				break
			}
			line := rest[i+1:]
			if len(tail) > 0 {
				line = slices.Concat(line, tail)
			}
			if (len(line) > 0 || isWhole || isCut) && !each(line, isWhole && !isCut && len(line) <= maxLine) {
				return nil
			}
			rest, tail, isWhole, isCut = rest[:i], tail[:0], true, false
		}
		if tail = slices.Concat(rest, tail); len(tail) > maxLine {
			tail, isCut = nil, true
		}
	}
	if len(tail) > 0 || isWhole || isCut {
		each(tail, isWhole && !isCut && len(tail) <= maxLine)
	}
	return nil
}
