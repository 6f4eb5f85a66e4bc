// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// python is a connection pool that does not notice that the server has closed its connections.
const python = `exec python3 -c '
import socket, time
pool = [socket.create_connection(("SERVER", 7001)) for _ in range(5)]
time.sleep(3600)
'`

// haproxy is a proxy that keeps half-closed connections as long as open ones.
const haproxy = `cat >/tmp/haproxy.cfg <<END
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen proxy
  bind :8000
  server server SERVER:7002
END
exec haproxy -f /tmp/haproxy.cfg`

// netcat has sent everything, and waits for an answer that never comes.
const netcat = `echo hello | nc -N SERVER 7002 || echo "nc ends with $?"
exec sleep infinity`

func (s *story) programs(t *testing.T) {
	importImage(t, programsImage, nil, []string{"-C", need(t, "programs"), "."})
	kind(t, "load", "docker-image", programsImage, "--name", name, "--nodes", worker)
	withServer := strings.NewReplacer("SERVER", s.server)
	address := startPods(t,
		pod{name: "haproxy", node: worker, annotations: grace("2s"), shell: withServer.Replace(haproxy)},
		pod{name: "python", node: worker, annotations: grace("2s"), shell: withServer.Replace(python)},
		pod{name: "netcat", node: worker, annotations: grace("2s"), shell: withServer.Replace(netcat)},
	)[0]
	startPods(t, pod{name: "client", node: controlPlane, annotations: grace("1h"), args: []string{"connect", address + ":8000", "shut"}})
	for _, want := range []struct {
		pod       string
		destroyed uint64 // at least
		why       string
	}{
		{"python", 5, "each connection of the pool"},
		{"haproxy", 1, "the client's connection or the one to the server: HAProxy then closes the other"},
		{"netcat", 1, "its only connection"},
	} {
		nstest.Eventually(t, slow, want.pod+" is cleaned: "+want.why, func() bool {
			a, _ := attachment(t, worker, want.pod)
			return a.Destroyed >= want.destroyed && len(sockets(t, worker, want.pod)) == 0
		})
	}
	// The client does not wait forever. It gets a reset if its own connection was destroyed, and EOF if HAProxy closed it
	// after the other one was destroyed, which happens first if the client's bytes came with its FIN.
	awaitLog(t, "client", address+":8000 closed")
	deletePods(t, "client", "haproxy", "python", "netcat")
}
