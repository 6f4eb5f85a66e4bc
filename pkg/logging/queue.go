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
)

// The bounds of the lines that wait for a busy or stuck reader. An empty queue accepts a line of any size.
const (
	maxQueuedLines = 1024
	maxQueuedBytes = 1 << 20
)

// flushTime bounds how long Close waits for the lines in the queue.
const flushTime = 300 * time.Millisecond

// queue is a writer of lines that never blocks: a goroutine writes them to a writer that may. It drops lines that do not fit
// and adds their number to the next line. It is safe for concurrent use.
type queue struct {
	to      io.Writer
	closeTo func() error                       // nil leaves it open
	addLost func(line []byte, lost int) []byte // adds the number of lost lines to a line
	lines   chan queuedLine
	written chan struct{} // closed when the last line is written

	mu     sync.Mutex
	size   int // bytes in the queue
	lost   int // lines dropped since the last one in the queue
	closed bool
}

type queuedLine struct {
	text []byte
	lost int // lines dropped before it
}

// newQueue starts a queue in front of to. Close calls closeTo unless it is nil.
func newQueue(to io.Writer, closeTo func() error, addLost func([]byte, int) []byte) *queue {
	q := &queue{to: to, closeTo: closeTo, addLost: addLost, lines: make(chan queuedLine, maxQueuedLines), written: make(chan struct{})}
	go q.drain()
	return q
}

// Write appends one line. It fails only after Close.
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
	q.lines <- queuedLine{bytes.Clone(line), q.lost} // never blocks: only Write fills the channel
	q.lost = 0
	return len(line), nil
}

// drain writes the lines. It counts a line that cannot be written as lost.
func (q *queue) drain() {
	defer close(q.written)
	failed := 0
	for next := range q.lines {
		line, lost := next.text, failed+next.lost
		if lost > 0 {
			line = q.addLost(line, lost)
		}
		failed = 0
		if _, err := q.to.Write(line); err != nil {
			failed = lost + 1
		}
		q.mu.Lock()
		q.size -= len(next.text)
		q.mu.Unlock()
	}
}

// Close waits up to flushTime until all lines are written. After an error the writer may still be in use.
func (q *queue) Close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	timeout := time.NewTimer(flushTime)
	defer timeout.Stop()
	select {
	case <-q.written:
	case <-timeout.C: // closing a file would wait for the write
		return fmt.Errorf("write the last log lines: the log's reader has accepted none for %v", flushTime)
	}
	if q.closeTo == nil {
		return nil
	}
	return q.closeTo()
}

// lostKey is the attribute with the number of lines that were lost before a line.
const lostKey = "lost_lines"

// lostCounter returns the function that adds the number of lost lines to a line of a format.
func lostCounter(format string) func(line []byte, lost int) []byte {
	end, added := "\n", " %s=%d\n"
	if format == JSON {
		end, added = "}\n", ",%q:%d}\n"
	}
	return func(line []byte, lost int) []byte {
		return fmt.Appendf(bytes.TrimSuffix(line, []byte(end)), added, lostKey, lost)
	}
}
