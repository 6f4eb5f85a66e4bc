// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batchSize is how many sockets of the set one system call reads.
const batchSize = 1024

// Entries calls visit for each socket of the set: with the counters of the moment at which it became half-closed, or of
// the moment at which Walk has added it. The next call of visit reuses its Socket. An error of visit ends the reading,
// and Entries returns it.
func (p *Programs) Entries(visit func(*Socket) error) error {
	var s Socket
	return p.readSet(func(_ uint64, k *kernelSnapshot) error {
		if err := s.set(k, p.ticks); err != nil {
			return err
		}
		return visit(&s)
	})
}

// readSet calls visit for each entry of the set.
func (p *Programs) readSet(visit func(cookie uint64, s *kernelSnapshot) error) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.keys == nil {
		p.keys, p.snapshots = make([]uint64, batchSize), make([]kernelSnapshot, batchSize)
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := p.objects.Sockets.BatchLookup(&cursor, p.keys, p.snapshots, nil)
		isLast := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !isLast {
			return fmt.Errorf("read the set of half-closed sockets: %w", err)
		}
		for i := range n {
			if err := visit(p.keys[i], &p.snapshots[i]); err != nil {
				return err
			}
		}
		if isLast {
			return nil
		}
	}
}

// Watch replaces the watched network namespaces, given by their cookies (SO_NETNS_COOKIE). Sockets of all others leave
// the set; a socket that a program inserts at this moment leaves it at the next call.
func (p *Programs) Watch(cookies []uint64) error {
	p.watching.Lock()
	defer p.watching.Unlock()
	wanted := make(map[uint64]struct{}, len(cookies))
	for _, c := range cookies {
		wanted[c] = struct{}{}
	}
	removed := false
	for c := range p.watched {
		if _, ok := wanted[c]; ok {
			continue
		}
		if err := p.objects.Watched.Delete(c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("stop watching netns %d: %w", c, err)
		}
		if err := p.objects.Refused.Delete(c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget netns %d: %w", c, err)
		}
		delete(p.watched, c)
		removed = true
	}
	for c := range wanted {
		if _, ok := p.watched[c]; ok {
			continue
		}
		err := p.objects.Watched.Put(c, uint64(0))
		if errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("watch netns %d: all %d slots are taken: %w", c, len(p.watched), err)
		}
		if err != nil {
			return fmt.Errorf("watch netns %d: %w", c, err)
		}
		p.watched[c] = struct{}{}
	}
	if !removed {
		return nil
	}
	return p.forgetUnwatched()
}

// forgetUnwatched removes the sockets of unwatched network namespaces from the set.
func (p *Programs) forgetUnwatched() error {
	var unwatched []uint64
	err := p.readSet(func(cookie uint64, s *kernelSnapshot) error {
		if _, ok := p.watched[s.Netns]; !ok {
			unwatched = append(unwatched, cookie)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.forget(unwatched)
}

// Forget removes sockets from the set, given by their cookies: those for which the kernel did not run the program as they
// left the half-closed state. If one is half-closed again by now, the next walk adds it.
func (p *Programs) Forget(cookies []uint64) error {
	p.watching.Lock()
	defer p.watching.Unlock()
	return p.forget(cookies)
}

// forget is Forget for a caller that holds the lock.
func (p *Programs) forget(cookies []uint64) (err error) {
	var forgotten uint64
	for _, c := range cookies {
		if err = p.objects.Sockets.Delete(c); err == nil {
			forgotten++
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			err = fmt.Errorf("forget a socket: %w", err)
			break
		}
		err = nil
	}
	p.forgotten += forgotten
	if setErr := p.objects.Forgotten.Set(p.forgotten); setErr != nil {
		err = errors.Join(err, fmt.Errorf("count forgotten sockets: %w", setErr))
	}
	return err
}

// Usage is what one network namespace uses of the set.
type Usage struct {
	Netns   uint64 // the cookie
	Sockets uint64 // in the set
	// Refused counts sockets that did not fit, since the last call of Usage. The walk counts the same socket each time.
	Refused uint64
}

// Usage returns what each watched network namespace uses of the set. A network namespace may have four times as many
// sockets in the set as the set has room for more: so one with too many leaves room for the others.
func (p *Programs) Usage() ([]Usage, error) {
	p.watching.Lock()
	defer p.watching.Unlock()
	list := make([]Usage, 0, len(p.watched))
	for c := range p.watched {
		u := Usage{Netns: c}
		if err := p.objects.Watched.Lookup(c, &u.Sockets); err != nil {
			return nil, fmt.Errorf("count the sockets of netns %d in the set: %w", c, err)
		}
		err := p.objects.Refused.LookupAndDelete(c, &u.Refused)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("count the sockets of netns %d that did not fit into the set: %w", c, err)
		}
		list = append(list, u)
	}
	return list, nil
}
