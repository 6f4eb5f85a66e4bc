// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Walk calls visit for each descriptor that refers to a half-closed socket of a watched network namespace, and adds
// the sockets that the set lacks. The next call of visit reuses its OwnedSocket. An error of visit ends the walk, and Walk
// returns it.
func (p *Programs) Walk(visit func(*OwnedSocket) error) error {
	var s OwnedSocket
	return iterate(p, p.walk, func(k *kernelOwnedSocket) error {
		if err := s.set(&k.Snapshot, p.ticks); err != nil {
			return err
		}
		d := &k.Descriptor
		s.PID, s.TID, s.FD = int(d.Pid), int(d.Tid), int(d.Fd)
		setCommand(&s.Command, d)
		return visit(&s)
	})
}

// Descriptors calls visit for each descriptor that refers to a TCP socket, in any state and network namespace. The next
// call of visit reuses its Descriptor. An error of visit ends the walk, and Descriptors returns it.
func (p *Programs) Descriptors(visit func(*Descriptor) error) error {
	var d Descriptor
	return iterate(p, p.descriptors, func(k *kernelDescriptor) error {
		d.Inode, d.PID, d.TID, d.FD = k.Inode, int(k.Pid), int(k.Tid), int(k.Fd)
		setCommand(&d.Command, k)
		return visit(&d)
	})
}

// setCommand allocates only if the command differs from the previous one.
func setCommand(command *string, d *kernelDescriptor) {
	if name := cString(d.Command[:]); string(name) != *command {
		*command = string(name)
	}
}

// outputSize is the most that the kernel returns at once (bpf_seq_read of kernel/bpf/bpf_iter.c).
const outputSize = 32 << 10

// iterate runs an iterator whose program writes values of type T.
func iterate[T any](p *Programs, iterator *link.Iter, visit func(*T) error) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.output == nil {
		p.output = make([]byte, outputSize)
	}
	r, err := iterator.Open()
	if err != nil {
		return fmt.Errorf("start a walk over processes: %w", err)
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
		case errors.Is(err, unix.EAGAIN): // a million descriptors without output: read again
		case err != nil:
			return fmt.Errorf("walk over processes: %w", err)
		}
	}
}
