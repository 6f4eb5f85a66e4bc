// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

// TestWalkFindsSocketsThatADetachedProgramMissed detaches the program for a while.
func TestWalkFindsSocketsThatADetachedProgramMissed(t *testing.T) {
	p := load(t, bpf.Options{})
	sometime(t, func(t *testing.T) string {
		at := newNetns(t)
		watch(t, p, at)
		first := at.Connect(t, nstest.IPv4)
		at.halfClose(t, first)
		if failure := want(2, entries(t, p)); failure != "" {
			return failure
		}

		attach, err := bpf.Detach(p)
		if err != nil {
			t.Fatal(err)
		}
		closed := at.sockets(t)
		first.Server.Close()
		first.Client.Close()
		nstest.Eventually(t, patience, "both ends closed", func() bool { return len(at.sockets(t)) == 0 })
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		missed := at.sockets(t)
		for cookie := range entries(t, p) {
			if _, ok := missed[cookie]; ok {
				t.Errorf("socket %#x is in the set, although the program was detached", cookie)
			}
		}

		if err := attach(); err != nil {
			t.Fatal(err)
		}
		walked, set := walk(t, p), entries(t, p)
		for cookie := range missed {
			s, ok := set[cookie]
			if len(walked[cookie]) != 1 || !ok || !s.Entered.IsZero() {
				t.Errorf("socket %#x: the walk reports %v, the set has %v", cookie, walked[cookie], s)
			}
		}
		for cookie := range closed { // they stay in the set until Forget
			if _, ok := set[cookie]; !ok || len(walked[cookie]) != 0 {
				t.Errorf("closed socket %#x: the walk reports %v, the set has it: %t", cookie, walked[cookie], ok)
			}
		}
		at.halfClose(t, at.Connect(t, nstest.IPv4))
		return want(6, entries(t, p))
	})
}
