// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
)

// smallUpload is for libcurl 7.88 over HTTP/2: some of its large uploads fail with error 92, even without halfclose.
const smallUpload = 1000

// TestPools has pools of HTTP clients that keep connections which the server closes, and then upload on them.
func TestPools(t *testing.T) {
	type client struct {
		name  string
		needs []program
		argv  []string // the URL and the file of the certificate follow
		// notices is set if the client closes a connection when its server does, so it leaks none.
		notices bool
		fails   bool        // its uploads fail without halfclose too
		varies  string      // as in scenario
		more    []transport // beside TLS 1.3 and plain HTTP
	}
	clients := []client{
		{"requests", []program{python("requests")}, []string{python3, script("pool.py"), "requests"}, false, false, "", []transport{
			{name: "TLS 1.2", version: tls.VersionTLS12}, {name: "plain HTTP with a 408", farewell: farewell408},
		}},
		{"urllib3", []program{python("urllib3")}, []string{python3, script("pool.py"), "urllib3"}, false, false, "", nil},
		{"httpx", []program{python("httpx")}, []string{python3, script("pool.py"), "httpx"}, false, false, "", nil},
		{"libcurl", []program{python("pycurl")}, []string{python3, script("pool.py"), "pycurl"}, false, false, "", []transport{{name: "HTTP/2 with a GOAWAY", version: tls.VersionTLS13, protocol: "h2", upload: smallUpload}}},
		{"Node's http.Agent in a loop that is busy", []program{command("node")}, []string{"node", script("pool_agent.js"), "busy"}, false, true, "", []transport{{name: "plain HTTP with a 408", farewell: farewell408}}},
		{"undici in a loop that is busy", []program{npm("undici")}, []string{"node", script("pool_undici.js"), "busy"}, false, false, "undici writes an upload before it reads the end of file, or after", nil},
		{"Node's http.Agent", []program{command("node")}, []string{"node", script("pool_agent.js"), "awake"}, true, false, "", nil},
		{"undici", []program{npm("undici")}, []string{"node", script("pool_undici.js"), "awake"}, true, false, "", nil},
		{"Java's HttpClient", []program{java("PoolHttpClient")}, javaArgv("PoolHttpClient"), true, false, "", nil},
		{"Java's HttpURLConnection", []program{java("PoolURLConnection")}, javaArgv("PoolURLConnection"), false, false, "", nil},
		{"Go's net/http", nil, nil, true, false, "", nil},
	}
	overTLS, overHTTP := transport{name: "TLS 1.3", version: tls.VersionTLS13}, transport{name: "plain HTTP"}
	var scenarios []scenario
	for _, c := range clients {
		leaks := held
		if c.notices {
			leaks = 0
		}
		for _, over := range append([]transport{overTLS, overHTTP}, c.more...) {
			scenarios = append(scenarios, scenario{
				name: c.name + " over " + over.name, needs: c.needs, fails: c.fails, varies: c.varies,
				play: func(s *stage) []result {
					site := s.serveHTTP(over)
					p := s.startPool(c.argv, site, cmp.Or(over.upload, upload))
					p.awaitReady()
					site.closeIdle()
					s.closedForGood(site.port, leaks)
					p.send("upload")
					return append(p.results("upload", held), p.exit())
				},
			})
		}
	}
	compare(t, scenarios...)
}

// startPool starts a client in the pod: the test binary if there is no other program.
func (s *stage) startPool(argv []string, site website, length int) *process {
	s.Helper()
	if argv == nil {
		return s.startRole(s.pod, "pool", site.url, site.ca)
	}
	return s.startWith(s.pod, []string{fmt.Sprintf("UPLOAD=%d", length)}, append(slices.Clone(argv), site.url, site.ca)...)
}
