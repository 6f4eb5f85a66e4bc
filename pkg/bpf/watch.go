// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Watch replaces the set of namespaces to look at, given by their cookies (SO_NETNS_COOKIE). What the set of
// sockets holds of others goes; what a program was just about to put there goes with the next call.
func (p *Programs) Watch(cookies []uint64) error {
	p.watching.Lock()
	defer p.watching.Unlock()
	want := make(map[uint64]struct{}, len(cookies))
	for _, c := range cookies {
		want[c] = struct{}{}
	}
	left := false
	for c := range p.watched {
		if _, ok := want[c]; ok {
			continue
		}
		if err := p.objects.Watched.Delete(c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("stop watching netns %d: %w", c, err)
		}
		delete(p.watched, c)
		left = true
	}
	for c := range want {
		if _, ok := p.watched[c]; ok {
			continue
		}
		err := p.objects.Watched.Put(c, uint8(1))
		if errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("watch netns %d: %d are watched, and there is no room for more: %w", c, len(p.watched), err)
		}
		if err != nil {
			return fmt.Errorf("watch netns %d: %w", c, err)
		}
		p.watched[c] = struct{}{}
	}
	if !left {
		return nil
	}
	return p.forgetUnwatched()
}

// forgetUnwatched takes out of the set what is of no watched namespace.
func (p *Programs) forgetUnwatched() error {
	var gone []uint64
	err := p.read(func(cookie uint64, l *kernelLook) error {
		if _, ok := p.watched[l.Netns]; !ok {
			gone = append(gone, cookie)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.Forget(gone)
}

// Forget takes sockets out of the set, given by their cookies: for those that were found to be half-closed no
// more, though the program was not called for that. One that is half-closed again by then is found by the next
// walk.
func (p *Programs) Forget(cookies []uint64) error {
	for _, c := range cookies {
		if err := p.objects.Sockets.Delete(c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a socket: %w", err)
		}
	}
	return nil
}
