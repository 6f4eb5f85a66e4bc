// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"fmt"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// TestSIGPIPE has a server that closes the connection of programs which a write after a reset would kill. Their peers
// are not asked.
func TestSIGPIPE(t *testing.T) {
	play := func(argv ...string) func(s *stage) []result {
		return func(s *stage) []result {
			port := s.serveEcho()
			p := s.start(s.pod, append(argv, nstest.LinkB, fmt.Sprint(port))...)
			p.awaitReady()
			s.keptForGood(port, 1)
			p.send("again")
			return append(p.results("request", 1), p.exit())
		}
	}
	compare(t,
		scenario{name: "a Perl client connects again", needs: []program{command("perl")}, play: play("perl", script("client.pl"))},
		scenario{name: "a C client connects again", needs: []program{made("client")}, play: play(made("client").check[2])},
	)
}
