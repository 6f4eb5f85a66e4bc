// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Walk lists what half-closed sockets of watched namespaces the processes hold, and puts those into the set that
// it lacks. The Holding is valid until found returns; an error of found's ends the walk and is returned.
func (p *Programs) Walk(found func(*Holding) error) error {
	var h Holding
	return iterate(p, p.walk, func(k *kernelHolding) error {
		if err := h.set(&k.Look, p.ticks); err != nil {
			return err
		}
		h.PID, h.TID, h.FD = int(k.Holder.Pid), int(k.Holder.Tid), int(k.Holder.Fd)
		if name := text(k.Holder.Command[:]); string(name) != h.Command {
			h.Command = string(name)
		}
		return found(&h)
	})
}

// Holders lists what TCP sockets the processes hold, in whatever state and namespace. The Holder is valid until
// found returns; an error of found's ends the walk and is returned.
func (p *Programs) Holders(found func(*Holder) error) error {
	var h Holder
	return iterate(p, p.holders, func(k *kernelHolder) error {
		h.Inode, h.PID, h.TID, h.FD = k.Inode, int(k.Pid), int(k.Tid), int(k.Fd)
		if name := text(k.Command[:]); string(name) != h.Command {
			h.Command = string(name)
		}
		return found(&h)
	})
}

// outputSize is what the kernel hands over at once at most (bpf_seq_read of kernel/bpf/bpf_iter.c).
const outputSize = 32 << 10

// iterate runs an iterator, whose program writes a T for each thing it finds.
func iterate[T any](p *Programs, iterator *os.File, visit func(*T) error) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.output == nil {
		p.output = make([]byte, outputSize)
	}
	r, err := startIterator(iterator)
	if err != nil {
		return fmt.Errorf("start a walk of processes: %w", err)
	}
	defer r.Close()
	size := int(unsafe.Sizeof(*new(T)))
	for have := 0; ; {
		n, err := r.Read(p.output[have:])
		have += n
		at := 0
		for ; have-at >= size; at += size {
			if err := visit((*T)(unsafe.Pointer(&p.output[at]))); err != nil {
				return err
			}
		}
		have = copy(p.output, p.output[at:have])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.EAGAIN): // it has looked at a million things since it found any
		case err != nil:
			return fmt.Errorf("walk processes: %w", err)
		}
	}
}
