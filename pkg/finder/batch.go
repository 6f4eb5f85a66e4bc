// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import "github.com/halfclose/halfclose/pkg/monotime"

// batchSize is how many sockets a finder reports at once.
const batchSize = 128

// batch collects sockets for a Sink, in memory that it allocates once.
type batch struct {
	seen []Seen
}

func newBatch() batch { return batch{seen: make([]Seen, 0, batchSize)} }

func (b *batch) isFull() bool { return len(b.seen) == cap(b.seen) }

// add adds a socket. The caller flushes a full batch first.
func (b *batch) add(s Seen) { b.seen = append(b.seen, s) }

// stamp sets At of each socket.
func (b *batch) stamp(at monotime.Time) {
	for i := range b.seen {
		b.seen[i].At = at
	}
}

// flush reports the sockets, if there are any, and empties the batch.
func (b *batch) flush(sink Sink) {
	if len(b.seen) > 0 {
		sink.Seen(b.seen)
	}
	b.clear()
}

// clear empties the batch.
func (b *batch) clear() { b.seen = b.seen[:0] }
