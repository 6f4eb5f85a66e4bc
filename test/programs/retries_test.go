// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// TestRetries has servers that close the connections of programs which reconnect when they notice.
func TestRetries(t *testing.T) {
	compare(t,
		scenario{
			name: "redis-cli connects again at its prompt", needs: []program{command("redis-server"), command("redis-cli")},
			play: playRedis,
		},
		scenario{
			name: "axios-retry posts again from a loop that is busy", needs: []program{npm("axios"), npm("axios-retry")},
			play: func(s *stage) []result {
				site := s.serveHTTP(transport{})
				p := s.start(s.pod, "node", script("retry_axios.js"), site.url)
				p.awaitReady()
				site.closeIdle()
				s.closedForGood(site.port, held)
				p.send("upload")
				return append(p.results("upload", held), p.exit())
			},
		},
		scenario{
			name: "pymemcache's RetryingClient asks again", needs: []program{python("pymemcache"), command("memcached")},
			play: playMemcached("all"),
		},
		scenario{
			name:  "pymemcache's RetryingClient asks again after the errors of its documentation",
			needs: []program{python("pymemcache"), command("memcached")},
			play:  playMemcached("documented"),
			worse: "its documentation retries for MemcacheUnexpectedCloseError alone, and a write after a reset raises BrokenPipeError",
		},
		scenario{
			name: "Python code connects again after BrokenPipeError and ConnectionResetError", needs: []program{command(python3)},
			play: func(s *stage) []result {
				port := s.serveEcho()
				return s.playClient(port, python3, script("retry_errors.py"))
			},
		},
		scenario{
			name: "an epoll owner that frees on close gets no event of a closed descriptor",
			play: func(s *stage) []result {
				port := s.serve(s.peer, nstest.LinkB+":0", func(*net.TCPConn) {}) // it closes at once
				p := s.startRole(s.pod, "epoll", fmt.Sprintf("%s:%d", nstest.LinkB, port))
				p.awaitReady()
				s.closedForGood(port, epollSockets)
				p.send("report")
				return append(p.results("report", 1), p.exit())
			},
		},
	)
}

// playClient plays a client that has one connection to a port of the peer.
func (s *stage) playClient(port uint16, argv ...string) []result {
	s.Helper()
	p := s.start(s.pod, append(argv, nstest.LinkB, fmt.Sprint(port))...)
	p.awaitReady()
	s.closedForGood(port, 1)
	p.send("again")
	return append(p.results("request", 1), p.exit())
}

func playRedis(s *stage) []result {
	s.Helper()
	const port = 6379
	s.start(s.peer, "redis-server", "--bind", nstest.LinkB, "--port", fmt.Sprint(port), "--protected-mode", "no",
		"--timeout", "2", "--save", "", "--dir", s.dir)
	s.listens(s.peer, port)
	p := s.start(s.pod, "redis-cli", "-h", nstest.LinkB, "-p", fmt.Sprint(port))
	echo := func(what, text string) result {
		p.send("ECHO " + text)
		for {
			line, ok := p.line()
			switch {
			case line == text:
				return result{what: what}
			case !ok:
				return result{what, fmt.Sprintf("it exits with %d; stderr: %s", p.code(), p.stderr())}
			}
		}
	}
	results := []result{echo("a command", "first")}
	s.closedForGood(port, 1)
	p.send("PING") // it fails, and redis-cli reconnects for the next command
	results = append(results, echo("a command after the one that fails", "second"))
	p.in.Close()
	return append(results, p.exit())
}

// playMemcached plays a RetryingClient that retries for some errors.
func playMemcached(retryFor string) func(s *stage) []result {
	return func(s *stage) []result {
		const port = 11211
		s.start(s.peer, "memcached", "-u", "root", "-l", nstest.LinkB, "-p", fmt.Sprint(port), "-U", "0", "-t", "1", "-o", "idle_timeout=2")
		s.listens(s.peer, port)
		return s.playClient(port, python3, script("retry_pymemcache.py"), retryFor)
	}
}
