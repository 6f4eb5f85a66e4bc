// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// TestPolicies lets a client wait for a server whose policy is more conservative than its own.
func TestPolicies(t *testing.T) {
	play := func(argv ...string) func(s *stage) []result {
		return func(s *stage) []result {
			port := s.serve(s.peer, nstest.LinkB+":0", slowly(s))
			return s.pipe(s.pod, at(argv, nstest.LinkB, port)...)
		}
	}
	scenarios := []scenario{
		{name: "nc -N waits for a server under grace never", needs: []program{command("nc")}, play: play("nc", "-N", "ADDRESS", "PORT")},
		{name: "ncat waits for a server under grace never", needs: []program{command("ncat")}, play: play("ncat", "ADDRESS", "PORT")},
	}
	for i := range scenarios {
		scenarios[i].policy = []string{"--grace", "1s", "--probe-after", "never"}
		scenarios[i].peerPolicy = []string{"--grace", "never", "--probe-after", "never"}
	}
	compare(t, scenarios...)
}
