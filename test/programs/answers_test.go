// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

const (
	// answerAfter is the time for which a server computes: longer than the time until the second question.
	answerAfter = 4 * time.Second
	answerText  = "the answer\n"
	// proxyPort is where proxies in the pod listen.
	proxyPort = 9000
)

// slowly answers an HTTP request when the scenario allows it. Until then no byte moves.
func slowly(s *stage) func(conn *net.TCPConn) {
	return func(conn *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil || !s.mayAnswer() {
			return // the client reports that there is no answer
		}
		fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answerText), answerText)
		_ = r.Body.Close() // the client reports a lost answer
	}
}

// mayAnswer blocks until the scenario allows servers to answer. It returns false if the test has ended first.
func (s *stage) mayAnswer() bool {
	select {
	case <-s.Context().Done():
		return false
	case <-s.answers:
		return true
	}
}

// keepWaiting keeps the program waiting for an answer on half-closed connections: for answerAfter and, if halfclose
// asks their peers, until each has been asked. Then servers may answer.
func (s *stage) keepWaiting() {
	s.Helper()
	passed := time.After(answerAfter)
	waiting := map[inetdiag.ID]uint32{} // with the segments that came in
	s.eventually("a connection is half-closed", func() bool {
		for _, sock := range s.halfClosed() {
			waiting[sock.ID] = sock.Info.SegsIn
		}
		return len(waiting) > 0
	})
	<-passed
	if s.halfclose != nil && s.isAsking {
		s.eventually("the peers of the half-closed connections are asked", func() bool {
			for _, sock := range s.halfClosed() {
				if before, ok := waiting[sock.ID]; ok && sock.Info.SegsIn > before { // the peer's acknowledgement, since no byte moves
					delete(waiting, sock.ID)
				}
			}
			return len(waiting) == 0
		})
	}
	close(s.answers)
}

// halfClosed returns the half-closed sockets in the pod, except the leak.
func (s *stage) halfClosed() []inetdiag.Socket {
	s.Helper()
	return s.sockets(s.pod, inetdiag.HalfClosed, func(sock *inetdiag.Socket) bool { return sock.Inode != 0 && !s.isLeak(sock) })
}

// request is sent by clients before they shut down their sending side.
const request = "GET /slow HTTP/1.0\r\nHost: peer\r\n\r\n"

// pipe runs a client that sends its input, shuts down its sending side and prints the answer.
func (s *stage) pipe(ns *nstest.NS, argv ...string) []result {
	s.Helper()
	p := s.start(ns, argv...)
	if _, err := io.WriteString(p.in, request); err != nil {
		s.Fatal(err)
	}
	p.in.Close()
	s.keepWaiting()
	got := result{what: "the answer"}
	if text := p.rest(); !strings.HasSuffix(text, "\r\n\r\n"+answerText) {
		got.err = fmt.Sprintf("%q; stderr: %s", text, p.stderr())
	}
	return []result{got, p.exit()}
}

// TestAnswers has clients that shut down their sending side and wait for an answer, with and without a proxy in
// between: a legal half-close, about which halfclose asks twice before the answer comes.
func TestAnswers(t *testing.T) {
	client := func(argv ...string) func(s *stage) []result {
		return func(s *stage) []result {
			port := s.serve(s.peer, nstest.LinkB+":0", slowly(s))
			return s.pipe(s.pod, at(argv, nstest.LinkB, port)...)
		}
	}
	proxied := func(start func(s *stage, server uint16)) func(s *stage) []result {
		return func(s *stage) []result {
			start(s, s.serve(s.peer, nstest.LinkB+":0", slowly(s)))
			s.listens(s.pod, proxyPort)
			return s.pipe(s.peer, "nc", "-N", nstest.LinkA, fmt.Sprint(proxyPort))
		}
	}
	nc := command("nc")
	scenarios := []scenario{
		{name: "nc -N", needs: []program{nc}, play: client("nc", "-N", "ADDRESS", "PORT")},
		{name: "HAProxy in TCP mode", needs: []program{nc, command("haproxy")}, play: proxied(startHAProxy("tcp"))},
		{name: "ncat", needs: []program{command("ncat")}, play: client("ncat", "ADDRESS", "PORT")},
		{name: "socat", needs: []program{command("socat")}, play: client("socat", "-t", "60", "-", "TCP:ADDRESS:PORT")},
		{name: "HAProxy in HTTP mode", needs: []program{nc, command("haproxy")}, play: proxied(startHAProxy("http"))},
		{name: "nginx as a stream proxy", needs: []program{nc, command("nginx")}, play: proxied(startNginx)},
		{
			name: "ssh -L", needs: []program{nc, command("ssh"), command("/usr/sbin/sshd"), command("ssh-keygen")},
			play: playSSH,
		},
		{
			name: "socat in the pod's namespace, as kubectl port-forward", needs: []program{nc, command("socat")},
			play: playPortForward,
		},
		{
			name: "psycopg2 with its direction shut", needs: []program{python("psycopg2")},
			play: func(s *stage) []result {
				port := s.serve(s.peer, nstest.LinkB+":0", servePostgres(s))
				p := s.start(s.pod, python3, script("half_closed_psycopg2.py"), nstest.LinkB, fmt.Sprint(port))
				s.keepWaiting()
				return append(p.results("query", 1), p.exit())
			},
		},
		{name: "gunicorn with one busy thread", needs: []program{nc, command("gunicorn")}, play: playGunicorn},
	}
	for i := range scenarios {
		scenarios[i].peerPolicy = asking()
	}
	compare(t, scenarios...)
}

// at replaces ADDRESS and PORT in a command.
func at(argv []string, address string, port uint16) []string {
	var replaced []string
	for _, arg := range argv {
		replaced = append(replaced, strings.NewReplacer("ADDRESS", address, "PORT", fmt.Sprint(port)).Replace(arg))
	}
	return replaced
}

// file writes a file of the scenario, readable for all, and returns its path.
func (s *stage) file(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	return path
}

func startHAProxy(mode string) func(s *stage, server uint16) {
	return func(s *stage, server uint16) {
		conf := s.file("haproxy.cfg", fmt.Sprintf(`
defaults
  mode %s
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen proxy
  bind :%d
  server s %s:%d
`, mode, proxyPort, nstest.LinkB, server))
		s.start(s.pod, "haproxy", "-db", "-f", conf)
	}
}

func startNginx(s *stage, server uint16) {
	conf := s.file("nginx.conf", fmt.Sprintf(`
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid %s/nginx.pid;
error_log stderr;
events {}
stream {
  server {
    listen %d;
    proxy_pass %s:%d;
    proxy_half_close on;
    proxy_timeout 1h;
  }
}
`, s.dir, proxyPort, nstest.LinkB, server))
	s.start(s.pod, "nginx", "-e", "stderr", "-c", conf)
}

// playSSH lets ssh in the pod forward a port to a server beside sshd.
func playSSH(s *stage) []result {
	const sshd = 2222
	server := s.serve(s.peer, "127.0.0.1:0", slowly(s))
	for _, key := range []string{"host", "user"} {
		p := s.start(s.peer, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key))
		if code := p.code(); code != 0 {
			s.Fatalf("ssh-keygen exits with %d: %s", code, p.stderr())
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		s.Fatal(err)
	}
	conf := s.file("sshd_config", fmt.Sprintf("ListenAddress %s:%d\nHostKey %[3]s/host\nAuthorizedKeysFile %[3]s/user.pub\n"+
		"StrictModes no\nUsePAM no\nPidFile none\n", nstest.LinkB, sshd, s.dir))
	s.start(s.peer, "/usr/sbin/sshd", "-D", "-e", "-f", conf)
	s.listens(s.peer, sshd)
	s.start(s.pod, "ssh", "-F", "none", "-N", "-p", fmt.Sprint(sshd), "-i", filepath.Join(s.dir, "user"),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes",
		"-L", fmt.Sprintf("%s:%d:127.0.0.1:%d", nstest.LinkA, proxyPort, server), "root@"+nstest.LinkB)
	s.listens(s.pod, proxyPort)
	return s.pipe(s.peer, "nc", "-N", nstest.LinkA, fmt.Sprint(proxyPort))
}

// playPortForward lets a process outside of the pod forward a port into it, as a container runtime does.
func playPortForward(s *stage) []result {
	server := s.serve(s.pod, "127.0.0.1:0", slowly(s))
	s.start(s.peer, "socat", "-t", "60", fmt.Sprintf("TCP-LISTEN:%d,fork,reuseaddr", proxyPort),
		fmt.Sprintf("EXEC:nsenter --net=%s socat -t 60 - TCP4\\:127.0.0.1\\:%d", s.pod.Path(), server))
	s.listens(s.peer, proxyPort)
	return s.pipe(s.peer, "nc", "-N", nstest.LinkB, fmt.Sprint(proxyPort))
}

// playGunicorn has a request, whose client has shut down its sending side, wait until a server's only thread has
// answered another.
func playGunicorn(s *stage) []result {
	const port = 8000
	s.start(s.peer, "gunicorn", "--bind", fmt.Sprintf("%s:%d", nstest.LinkB, port), "--worker-class", "gthread", "--threads", "1",
		"--worker-tmp-dir", s.dir, "--chdir", "testdata", "slow_app:app")
	s.listens(s.peer, port)
	first := s.start(s.pod, "curl", "-sS", fmt.Sprintf("http://%s:%d/busy", nstest.LinkB, port))
	s.eventually("the thread is busy", func() bool { return len(s.sockets(s.pod, established, toPort(port))) > 0 })
	results := s.pipe(s.pod, "nc", "-N", nstest.LinkB, fmt.Sprint(port))
	return append(results, first.exit())
}
