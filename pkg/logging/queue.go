// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/halfclose/halfclose/pkg/systemlog"
)

// What waits for a reader that is busy or stuck is bounded, in lines and in bytes. A line of any size is
// taken when nothing else waits.
const (
	maxQueuedLines = 1024
	maxQueuedBytes = 1 << 20
)

// flushTime bounds how long Close waits for the lines that are still in the queue.
const flushTime = 300 * time.Millisecond

// queue is a writer of lines that never makes its user wait: a goroutine writes them to what may. Lines for
// which there is no room are lost, and counted on the next line that is written. It is safe for concurrent use.
type queue struct {
	to    io.Writer
	count func(line []byte, lost int) []byte // adds the number of lines lost to a line
	lines chan queued
	ended chan struct{} // closed when everything was written

	mu     sync.Mutex
	size   int // bytes that wait
	lost   int // lines lost since the last one that was taken
	closed bool
}

// queued is a line that waits.
type queued struct {
	line []byte
	lost int // lines lost before it
}

// newQueue starts a queue in front of to. Close ends it; it does not close to.
func newQueue(to io.Writer, count func([]byte, int) []byte) *queue {
	q := &queue{to: to, count: count, lines: make(chan queued, maxQueuedLines), ended: make(chan struct{})}
	go q.drain()
	return q
}

// Write takes one line. It fails only after Close.
func (q *queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, os.ErrClosed
	}
	if len(q.lines) == cap(q.lines) || q.size > 0 && q.size+len(line) > maxQueuedBytes {
		q.lost++
		return len(line), nil
	}
	q.size += len(line)
	q.lines <- queued{bytes.Clone(line), q.lost} // there is room, and nobody else fills it
	q.lost = 0
	return len(line), nil
}

// drain writes what is queued. A line that cannot be written is lost like one that found no room.
func (q *queue) drain() {
	defer close(q.ended)
	failed := 0
	for next := range q.lines {
		line, lost := next.line, failed+next.lost
		if lost > 0 {
			line = q.count(line, lost)
		}
		failed = 0
		if _, err := q.to.Write(line); err != nil {
			failed = lost + 1
		}
		q.mu.Lock()
		q.size -= len(next.line)
		q.mu.Unlock()
	}
}

// Close waits until everything is written, for flushTime at most: the process that calls it is about to end,
// whoever reads or does not. After an error what is behind the queue may still be in use.
func (q *queue) Close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	late := time.NewTimer(flushTime)
	defer late.Stop()
	select {
	case <-q.ended:
		return nil
	case <-late.C:
		return fmt.Errorf("write the last log lines: nobody took them for %v", flushTime)
	}
}

// counter returns what adds the number of lines lost to a line of that format.
func counter(format string) func(line []byte, lost int) []byte {
	if format == JSON {
		return countJSON
	}
	return countText
}

// countText adds the number of lines lost to a line of key=value pairs.
func countText(line []byte, lost int) []byte {
	return fmt.Appendf(bytes.TrimSuffix(line, []byte("\n")), " %s=%d\n", systemlog.LostKey, lost)
}

// countJSON adds it to a line that is an object.
func countJSON(line []byte, lost int) []byte {
	return fmt.Appendf(bytes.TrimSuffix(line, []byte("}\n")), ",%q:%d}\n", systemlog.LostKey, lost)
}
