// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// ailing are real programs with faults, which a test turns on and off.
type ailing struct {
	finder.LoadedPrograms
	deaf   atomic.Bool   // the kernel does not call the program that follows changes of state
	broken atomic.Bool   // every call of the programs fails
	unseen atomic.Uint64 // the cookie of a socket that the programs do not report
	ghost  atomic.Uint64 // the cookie of a socket that they report although it is gone
	like   bpf.Socket    // the socket that they report for the ghost
	loads  atomic.Int64
}

var errBroken = errors.New("the programs are broken")

// load returns the load function of a Loader. sockets is the capacity of a set.
func (a *ailing) load(sockets int) func() (finder.LoadedPrograms, error) {
	return func() (finder.LoadedPrograms, error) {
		if a.broken.Load() {
			return nil, errBroken
		}
		p, err := bpf.Load(bpf.Options{MaxSockets: sockets})
		if err != nil {
			return nil, err
		}
		a.loads.Add(1)
		a.LoadedPrograms = p
		return a, nil
	}
}

func (a *ailing) Entries(found func(*bpf.Socket) error) error {
	if a.broken.Load() {
		return errBroken
	}
	var unheard []uint64
	err := a.LoadedPrograms.Entries(func(s *bpf.Socket) error {
		switch cookie := s.ID.Cookie(); {
		case a.deaf.Load() && !s.Entered.IsZero():
			unheard = append(unheard, cookie)
			return nil
		case cookie == a.unseen.Load():
			return nil
		}
		return found(s)
	})
	if err == nil && a.ghost.Load() != 0 {
		err = found(&a.like)
	}
	return errors.Join(err, a.LoadedPrograms.Forget(unheard)) // as if it had never been called for them
}

func (a *ailing) Walk(found func(*bpf.OwnedSocket) error) error {
	if a.broken.Load() {
		return errBroken
	}
	return a.LoadedPrograms.Walk(func(h *bpf.OwnedSocket) error {
		if h.ID.Cookie() == a.unseen.Load() {
			return nil
		}
		return found(h)
	})
}

func (a *ailing) Forget(cookies []uint64) error {
	for _, c := range cookies {
		a.ghost.CompareAndSwap(c, 0)
	}
	return a.LoadedPrograms.Forget(cookies)
}

// newAilingNode starts a reaper with these programs, which sweeps and audits twice a second.
func newAilingNode(t *testing.T, sockets int) (*node, *ailing) {
	t.Helper()
	a := new(ailing)
	loader, err := finder.NewLoader(a.load(sockets))
	if errors.Is(err, unix.EPERM) {
		nstest.NeedBPF(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loader.Close() })
	return newNode(t, finder.NameSockDiag, func(c *reaper.Config) {
		c.Finder = finder.NewBPF(finder.BPFConfig{
			Config: finder.Config{Root: c.Root, Clock: c.Clock, CPUBudget: 1, MaxWalkInterval: time.Second}, Loader: loader, AuditInterval: 200 * time.Millisecond, AuditBudget: 1,
			RetryPause: 500 * time.Millisecond,
		})
		often(c)
		findsOwners(c)
	}), a
}
