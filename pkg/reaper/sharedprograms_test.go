// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"slices"
	"sync"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
)

// loadOnce loads the programs that the finders of all tests share: each load costs a twentieth of a second, and the kernel
// calls all that are loaded at each change of a socket's state.
var loadOnce = sync.OnceValues(func() (*sharedPrograms, error) {
	p, err := bpf.Load(bpf.Options{MaxSockets: testSockets})
	if err == nil {
		closeShared = p.Close
	}
	return &sharedPrograms{Programs: p, shares: make(map[*share][]uint64)}, err
})

// closeShared unloads the shared programs after the last test, if one has loaded them.
var closeShared = func() error { return nil }

// sharedPrograms are programs that stay loaded for all tests.
type sharedPrograms struct {
	*bpf.Programs

	mu     sync.Mutex
	shares map[*share][]uint64 // the network namespaces that each share watches
}

// share is one finder's view of the shared programs: only its own network namespaces.
type share struct {
	*sharedPrograms
}

var _ finder.LoadedPrograms = (*share)(nil)

// loadShare is the load function of a Loader.
func loadShare() (finder.LoadedPrograms, error) {
	p, err := loadOnce()
	if err != nil {
		return nil, err
	}
	return &share{p}, nil
}

// Watch implements finder.Programs.
func (s *share) Watch(cookies []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares[s] = slices.Clone(cookies)
	return s.watchAll()
}

// Close implements finder.LoadedPrograms. The programs stay loaded.
func (s *share) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shares, s)
	return s.watchAll()
}

func (p *sharedPrograms) watchAll() error {
	var all []uint64
	for _, cookies := range p.shares {
		all = append(all, cookies...)
	}
	slices.Sort(all)
	return p.Watch(slices.Compact(all))
}

// watches reports whether a network namespace belongs to the share.
func (s *share) watches() func(cookie uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.shares[s]
	return func(cookie uint64) bool { return slices.Contains(own, cookie) }
}

// Entries implements finder.Programs.
func (s *share) Entries(visit func(*bpf.Socket) error) error {
	own := s.watches()
	return s.Programs.Entries(func(e *bpf.Socket) error {
		if !own(e.Netns) {
			return nil
		}
		return visit(e)
	})
}

// Usage implements finder.Programs.
func (s *share) Usage() (list []bpf.Usage, err error) {
	own := s.watches()
	all, err := s.Programs.Usage()
	for _, u := range all {
		if own(u.Netns) {
			list = append(list, u)
		}
	}
	return list, err
}

// Walk implements finder.Programs.
func (s *share) Walk(visit func(*bpf.OwnedSocket) error) error {
	own := s.watches()
	return s.Programs.Walk(func(h *bpf.OwnedSocket) error {
		if !own(h.Netns) {
			return nil
		}
		return visit(h)
	})
}
