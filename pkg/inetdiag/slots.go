// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// slotCount is how many datagrams are received at once.
const slotCount = 8

// slots is where the answers of a pipeline are received, several by one system call, and from where they are
// taken one after the other.
//
// Each slot is as long as the buffer for a single datagram. An answer is some 500 bytes, but it can be longer:
// to those who may destroy, the kernel tells a socket's TCP_MD5SIG keys as well, 100 bytes each, and any
// process may give its sockets a hundred of them.
type slots struct {
	args  manyArgs
	mem   []byte
	queue [slotCount]datagram
	at, n int // what is unread of queue
}

type datagram struct {
	b         []byte
	truncated bool
}

// slotPool keeps slots between pipelines, so that a Conn that lives for one of them only need not make its own.
// Nothing but spare memory is in it.
var slotPool = sync.Pool{New: func() any { return newSlots(recvSize) }}

func newSlots(size int) *slots {
	s := &slots{mem: make([]byte, slotCount*size)}
	for i := range slotCount {
		s.args.setSlot(i, s.slot(i))
	}
	return s
}

// slot is the memory of slot i.
func (s *slots) slot(i int) []byte {
	size := len(s.mem) / slotCount
	return s.mem[i*size : (i+1)*size : (i+1)*size]
}

// add queues the n bytes that were received in slot i.
func (s *slots) add(i, n int, truncated bool) {
	s.queue[s.n] = datagram{s.slot(i)[:n], truncated}
	s.n++
}

// unread reports whether there is something to take.
func (s *slots) unread() bool { return s.at < s.n }

// take returns the next datagram. It is valid until the slots are filled again.
func (s *slots) take() ([]byte, error) {
	d := &s.queue[s.at]
	s.at++
	if d.truncated {
		return nil, truncated(len(s.mem) / slotCount)
	}
	return d.b, nil
}

// truncated is the error about an answer of which the end is lost.
func truncated(size int) error {
	return fmt.Errorf("answer is longer than %d bytes: %w", size, unix.EMSGSIZE)
}
