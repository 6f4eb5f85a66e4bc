// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

// TestWhatADetachedProgramMissesTheWalkFinds has a kernel that calls the program for nothing for a while.
func TestWhatADetachedProgramMissesTheWalkFinds(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newPlace(t)
		watch(t, p, at)
		left := at.Connect(t, nstest.IPv4)
		at.halfClose(t, left)
		if complaint := want(2, entries(t, p)); complaint != "" {
			return complaint
		}

		attach, err := bpf.Detach(p)
		if err != nil {
			t.Fatal(err)
		}
		gone := at.sockets(t)
		left.Server.Close()
		left.Client.Close()
		nstest.Eventually(t, patience, "both ends are gone", func() bool { return len(at.sockets(t)) == 0 })
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		missed := at.sockets(t)
		for cookie := range entries(t, p) {
			if _, ok := missed[cookie]; ok {
				t.Errorf("socket %#x is in the set, of which nobody told", cookie)
			}
		}

		if err := attach(); err != nil {
			t.Fatal(err)
		}
		held, set := walk(t, p), entries(t, p)
		for cookie := range missed {
			s, ok := set[cookie]
			if len(held[cookie]) != 1 || !ok || !s.Entered.IsZero() {
				t.Errorf("socket %#x: the walk shows %v, the set has %v", cookie, held[cookie], s)
			}
		}
		for cookie := range gone { // nobody told of their leaving: whoever reads the set finds out
			if _, ok := set[cookie]; !ok || len(held[cookie]) != 0 {
				t.Errorf("socket %#x is gone: the walk shows %v, the set has it: %t", cookie, held[cookie], ok)
			}
		}
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		return want(6, entries(t, p))
	})
}
