// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

const (
	// shortGrace is the grace of readers that stop reading.
	shortGrace = 2 * time.Second
	// standStill is the time for which readers do not read.
	standStill = 3 * shortGrace
	// sent is the number of bytes that a reader is sent. They fit into its receive buffer, so all are acknowledged.
	sent = 60_000
	// sentFirst is the number of these bytes that are sent before the reader stops: they fill its output.
	sentFirst = 20_000
)

func shortPolicy() []string {
	return []string{"--probe-after", "1s", "--grace", shortGrace.String()}
}

// reader is a program that stops reading, and later reads to the end of file.
type reader struct {
	name  string
	needs program
	argv  []string // nil: the test binary
	http  bool     // it sends a request first
	// waits is set if the program prints "ready" and does not read until a line comes. The others stop because the test
	// does not read their output.
	waits bool
	worse string // as in scenario, for a sender that has closed
}

func readers() []reader {
	return []reader{
		{"OpenBSD nc", command("nc"), []string{"nc", "-d", "ADDRESS", "PORT"}, false, false, lostByNC},
		{"ncat", command("ncat"), []string{"ncat", "--recv-only", "ADDRESS", "PORT"}, false, false, ""},
		{"socat", command("socat"), []string{"socat", "-u", "TCP:ADDRESS:PORT", "-"}, false, false, ""},
		{"BusyBox nc", busybox("nc"), []string{"busybox", "nc", "ADDRESS", "PORT"}, false, false, ""},
		{"BusyBox wget", busybox("wget"), []string{"busybox", "wget", "-q", "-O", "-", "http://ADDRESS:PORT/"}, true, false, ""},
		{"curl", command("curl"), []string{"curl", "-sS", "http://ADDRESS:PORT/"}, true, false, ""},
		{"bash and cat", command("bash"), []string{"bash", script("reader.sh"), "ADDRESS", "PORT"}, false, true, ""},
		{"Python", command(python3), []string{python3, script("reader.py"), "ADDRESS", "PORT"}, false, true, ""},
		{"asyncio", command(python3), []string{python3, script("reader_asyncio.py"), "ADDRESS", "PORT"}, false, true, ""},
		{"Node's net", command("node"), []string{"node", script("reader_net.js"), "ADDRESS", "PORT"}, false, true, ""},
		{"Node's http", command("node"), []string{"node", script("reader_http.js"), "ADDRESS", "PORT"}, true, true, ""},
		{"Perl", command("perl"), []string{"perl", script("reader.pl"), "ADDRESS", "PORT"}, false, true, ""},
		{"Java", java("Reader"), append(javaArgv("Reader"), "ADDRESS", "PORT"), false, true, ""},
		{"Go", program{"go", []string{"true"}}, nil, false, true, ""},
	}
}

// lostByNC is the reason why OpenBSD nc reads less after a reset of its connection.
const lostByNC = "it drops what it has still to read when poll reports an error, as a reset does"

// TestReaders has programs that stop reading for longer than the grace, with unread bytes.
func TestReaders(t *testing.T) {
	scenarios := []scenario{{
		name: "tar through nc -N to nc -l", needs: []program{command("tar"), command("nc"), command("sh")},
		policy: shortPolicy(), peerPolicy: shortPolicy(), play: playTar,
	}}
	for _, r := range readers() {
		scenarios = append(scenarios,
			scenario{
				name: r.name + " while the sender waits", needs: []program{r.needs},
				policy: shortPolicy(), peerPolicy: shortPolicy(),
				play: func(s *stage) []result {
					p, _ := s.startReader(r, false)
					<-time.After(standStill)
					return p.readAll(r)
				},
			},
			scenario{
				name: r.name + " after the sender has closed", needs: []program{r.needs}, worse: r.worse,
				play: func(s *stage) []result {
					p, port := s.startReader(r, true)
					if p.diesOfSIGPIPE() {
						s.keptForGood(port, 1)
					} else {
						s.closedForGood(port, 1)
					}
					return p.readAll(r)
				},
			})
	}
	compare(t, scenarios...)
}

// startReader starts a reader in the pod, and waits until it has stopped with unread bytes and an unread end of file.
// By then the server has closed, or has shut down its sending side and waits.
func (s *stage) startReader(r reader, closes bool) (p *process, port uint16) {
	s.Helper()
	stands := make(chan struct{})
	port = s.serve(s.peer, nstest.LinkB+":0", serveBytes(s, r.http, closes, stands))
	if !r.waits {
		s.pipeSize = os.Getpagesize()
	}
	if r.argv == nil {
		p = s.startRole(s.pod, "reader", fmt.Sprintf("%s:%d", nstest.LinkB, port))
	} else {
		p = s.start(s.pod, at(r.argv, nstest.LinkB, port)...)
	}
	if r.waits {
		p.awaitReady()
	} else {
		s.eventually("the reader has filled its output", func() bool { return p.unread() == s.pipeSize })
	}
	close(stands)
	s.eventually("the reader has bytes to read, and the end of file behind them", func() bool {
		return len(s.sockets(s.pod, closeWait, func(sock *inetdiag.Socket) bool {
			return toPort(port)(sock) && sock.RQueue > 1
		})) == 1
	})
	return p, port
}

// serveBytes sends bytes, the second part once the reader has stopped.
func serveBytes(s *stage, isHTTP, closes bool, stands <-chan struct{}) func(conn *net.TCPConn) {
	return func(conn *net.TCPConn) {
		text := bytes.Repeat([]byte("x"), sent)
		first := text[:sentFirst]
		if isHTTP {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			first = append([]byte("HTTP/1.0 200 OK\r\n\r\n"), first...)
		}
		if _, err := conn.Write(first); err != nil {
			return
		}
		select {
		case <-s.Context().Done():
			return
		case <-stands:
		}
		if _, err := conn.Write(text[sentFirst:]); err != nil || closes || conn.CloseWrite() != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn) // until the reader closes
	}
}

// readAll lets the reader continue.
func (p *process) readAll(r reader) []result {
	p.s.Helper()
	if r.waits {
		p.send("read")
	}
	got := result{what: "all bytes"}
	if text := p.rest(); len(text) != sent {
		got.err = fmt.Sprintf("%d of %d; stderr: %s", len(text), sent, p.stderr())
	}
	return []result{got, p.exit()}
}

// diesOfSIGPIPE reports whether the program has the default disposition for SIGPIPE.
func (p *process) diesOfSIGPIPE() bool {
	p.s.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.s.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^Sig(?:Ign|Cgt):\s*(\w+)$`).FindAllSubmatch(status, -1) {
		if mask, err := strconv.ParseUint(string(m[1]), 16, 64); err != nil || mask&(1<<(unix.SIGPIPE-1)) != 0 {
			return false
		}
	}
	return true
}

const (
	tarFiles    = 12
	tarFileSize = 8192
	tarPort     = 9001
)

// playTar sends files to a receiver that stops reading in the middle.
func playTar(s *stage) []result {
	from, to := filepath.Join(s.dir, "from"), filepath.Join(s.dir, "to")
	for _, dir := range []string{from, to} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			s.Fatal(err)
		}
	}
	name := func(i int) string { return fmt.Sprintf("file%02d", i) }
	content := func(i int) []byte { return slices.Repeat([]byte{byte(i)}, tarFileSize) }
	for i := range tarFiles {
		if err := os.WriteFile(filepath.Join(from, name(i)), content(i), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	receiver := s.start(s.peer, "nc", "-l", nstest.LinkB, fmt.Sprint(tarPort))
	s.listens(s.peer, tarPort)
	sender := s.start(s.pod, "sh", "-c", fmt.Sprintf("tar -c -C %s . | nc -N %s %d", from, nstest.LinkB, tarPort))
	unpack := s.start(s.peer, "tar", "-x", "-C", to)
	if _, err := io.CopyN(unpack.in, receiver.out, 5000); err != nil {
		s.Fatal(err)
	}
	s.eventually("the sender has sent all, and the receiver has some of it still to read", func() bool {
		return len(s.sockets(s.pod, finWait2, toPort(tarPort))) == 1 &&
			len(s.sockets(s.peer, closeWait, func(sock *inetdiag.Socket) bool { return atPort(tarPort)(sock) && sock.RQueue > 1 })) == 1
	})
	<-time.After(standStill)
	_, _ = io.Copy(unpack.in, receiver.out) // the files are compared
	unpack.in.Close()
	results := []result{receiver.exit(), sender.exit(), unpack.exit()}
	for i := range tarFiles {
		r := result{what: name(i)}
		if got, err := os.ReadFile(filepath.Join(to, name(i))); err != nil {
			r.err = err.Error()
		} else if !bytes.Equal(got, content(i)) {
			r.err = "it is another"
		}
		results = append(results, r)
	}
	return results
}
