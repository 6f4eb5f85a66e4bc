// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// batchSize is how many sockets of the set are read with one system call.
const batchSize = 1024

// Entries reads the set: sockets that became half-closed since their namespace is watched, as they were then, and
// those that Walk has put there. The Socket is valid until found returns; an error of found's ends the reading and
// is returned.
func (p *Programs) Entries(found func(*Socket) error) error {
	var s Socket
	return p.read(func(_ uint64, l *kernelLook) error {
		if err := s.set(l, p.ticks); err != nil {
			return err
		}
		return found(&s)
	})
}

// read reads the set.
func (p *Programs) read(visit func(cookie uint64, l *kernelLook) error) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.keys == nil {
		p.keys, p.looks = make([]uint64, batchSize), make([]kernelLook, batchSize)
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := p.objects.Sockets.BatchLookup(&cursor, p.keys, p.looks, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("read the set of half-closed sockets: %w", err)
		}
		for i := range n {
			if err := visit(p.keys[i], &p.looks[i]); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}
