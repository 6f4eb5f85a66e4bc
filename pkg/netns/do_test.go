// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestDoRunsItsFunctionInTheNamespaceAndNoOtherThread(t *testing.T) {
	home := ownIdentity(t)
	h := open(t, nstest.New(t).Path())
	var inside, ownInside netns.Identity
	err := h.Do(func() (err error) {
		if inside, err = here(); err != nil {
			return err
		}
		o, err := netns.OpenOwn()
		if err != nil {
			return err
		}
		ownInside = o.Stat()
		return o.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if inside != h.Stat() {
		t.Errorf("Do ran in %v, want %v", inside, h.Stat())
	}
	if ownInside != home {
		t.Errorf("OpenOwn in Do = %v, want the process's %v", ownInside, home)
	}
	everyThreadIsIn(t, home)
}

// everyThreadIsIn checks more threads than the earlier tests have used.
func everyThreadIsIn(t *testing.T, home netns.Identity) {
	t.Helper()
	const together = 32
	var arrived, done sync.WaitGroup
	arrived.Add(together)
	for range together {
		done.Go(func() {
			runtime.LockOSThread() // until the goroutine exits: each has its own thread
			defer runtime.UnlockOSThread()
			arrived.Done()
			arrived.Wait()
			if id, err := here(); err != nil || id != home {
				t.Errorf("a thread is in %v (%v), want %v", id, err, home)
			}
		})
	}
	done.Wait()
}

func TestDoReturnsToItsNamespaceAfterErrorGoexitAndPanic(t *testing.T) {
	home := ownIdentity(t)
	h := open(t, nstest.New(t).Path())
	wrong := errors.New("wrong")

	if err := h.Do(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("error = %v, want the function's", err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error after runtime.Goexit")
	}
	func() {
		defer func() {
			p, ok := recover().(*netns.Panic)
			if !ok || !errors.Is(p, wrong) || len(p.Stack) == 0 {
				t.Errorf("recovered %v, want the function's panic with its stack", p)
			}
		}()
		_ = h.Do(func() error { panic(wrong) })
		t.Error("Do did not panic")
	}()
	everyThreadIsIn(t, home)
}

func TestConcurrentDosRunInTheirOwnNamespaces(t *testing.T) {
	home := ownIdentity(t)
	handles := []*netns.Handle{open(t, nstest.New(t).Path()), open(t, nstest.New(t).Path())}
	var wg sync.WaitGroup
	for i := range 8 {
		h := handles[i%2]
		wg.Go(func() {
			for range 50 {
				err := h.Do(func() error {
					if id, err := here(); err != nil || id != h.Stat() {
						t.Errorf("in %v (%v), want %v", id, err, h.Stat())
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	everyThreadIsIn(t, home)
}

func TestASocketOpenedInDoStaysInTheNamespace(t *testing.T) {
	ns := nstest.New(t)
	l := ns.Listen(t, nstest.IPv4)
	h := open(t, ns.Path())
	dial := func() error {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		return c.Close()
	}
	if err := h.Do(dial); err != nil {
		t.Errorf("dial in the namespace: %v", err)
	}
	if err := dial(); err == nil {
		t.Error("the listener is reachable from outside of the namespace")
	}
}

func TestDoFailsWithAClosedHandle(t *testing.T) {
	h := open(t, nstest.New(t).Path())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	ran := false
	if err := h.Do(func() error { ran = true; return nil }); err == nil || ran {
		t.Errorf("ran = %v, error = %v, want no run, and an error", ran, err)
	}
}

func TestOperationsLeaveNoDescriptorOpen(t *testing.T) {
	ns := nstest.New(t)
	dir := t.TempDir()
	symlink(t, "loop", dir+"/loop")
	round := func() {
		h, err := netns.Open(ns.Path())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Identify(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(h.Close(), h.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
		r, err := netns.NewRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/loop", "/absent", "/proc/self/ns/mnt"} {
			if _, err := r.Open(path); err == nil {
				t.Errorf("open %s: no error", path)
			}
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
	}
	round()
	before := countFDs(t)
	for range 100 {
		round()
	}
	if after := countFDs(t); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}
