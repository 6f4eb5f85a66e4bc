// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// slotCount is how many datagrams one system call receives.
const slotCount = 8

// slots has the buffers of a pipeline, one for each answer that a system call receives, and a queue of the unread
// answers.
//
// Each slot has recvSize bytes. An answer has about 500 bytes, but to a caller with CAP_NET_ADMIN the kernel also reports the
// socket's TCP_MD5SIG keys, 100 bytes each, and any process may set a hundred of them.
type slots struct {
	args  manyArgs
	mem   []byte
	queue [slotCount]datagram
	at, n int // queue[at:n] is unread
}

type datagram struct {
	b         []byte
	truncated bool
}

// slotPool keeps slots without unread answers, so that a Conn that runs one pipeline does not allocate its own.
var slotPool = sync.Pool{New: func() any { return newSlots(recvSize) }}

func newSlots(size int) *slots {
	s := &slots{mem: make([]byte, slotCount*size)}
	for i := range slotCount {
		s.args.setSlot(i, s.slot(i))
	}
	return s
}

// slot returns the buffer of slot i.
func (s *slots) slot(i int) []byte {
	size := len(s.mem) / slotCount
	return s.mem[i*size : (i+1)*size : (i+1)*size]
}

// add queues the n bytes in slot i.
func (s *slots) add(i, n int, truncated bool) {
	s.queue[s.n] = datagram{s.slot(i)[:n], truncated}
	s.n++
}

// unread reports whether take has a datagram to return.
func (s *slots) unread() bool { return s.at < s.n }

// take returns the next datagram, which is valid until the next receive.
func (s *slots) take() ([]byte, error) {
	d := &s.queue[s.at]
	s.at++
	if d.truncated {
		return nil, truncated(len(s.mem) / slotCount)
	}
	return d.b, nil
}

// truncated returns the error for an answer whose end is lost.
func truncated(size int) error {
	return fmt.Errorf("answer is longer than %d bytes: %w", size, unix.EMSGSIZE)
}
