// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// TestPrograms runs common programs that leak sockets, each beside a half-closed connection of the same program that is in
// use.
func TestPrograms(t *testing.T) {
	node.Need(t)
	if os.Getenv(runtimeVar) != "programs" {
		t.Skip("it has a run of its own: make e2e")
	}
	s := newSite(t, traits{name: "programs", runtime: &direct{caller: &libcniCaller{}}, version: "1.0.0", annotations: true})
	for _, tt := range []struct {
		name string
		play func(*testing.T, *site)
	}{
		{"nc -N waits for an answer", pipes("nc", "nc", "-N", "ADDRESS", "8080")},
		{"socat with a long -t waits for an answer", pipes("socat", "socat", "-t", "3600", "-", "TCP:ADDRESS:8080")},
		{"HAProxy in TCP mode passes a half-close on", proxies("haproxy", haproxyConf, "-db", "-f", "FILE")},
		{"nginx as a stream proxy passes a half-close on", proxies("nginx", nginxConf, "-c", "FILE")},
		{"a pool of requests keeps connections that the server has closed", pools("requests")},
		{"a pool of urllib3 keeps connections that the server has closed", pools("urllib3")},
		{"Go's net/http is left with a body that is never closed", httpBody},
		{"Go's net/http answers a client that has shut its direction", httpHandler},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.play(t, s.in(t)) })
	}
}

// The policies of a pod that leaks, and of the pods at the other ends. A grace of never there would keep the leaks too.
func leaks() map[string]string {
	return map[string]string{policy.AnnotationGrace: grace.String()}
}

func waits() map[string]string { return map[string]string{policy.AnnotationGrace: "1h"} }

// box creates a pod without a process.
func (s *site) box(t *testing.T, name string, annotations map[string]string) *pod {
	t.Helper()
	name = s.unique(name)
	path, err := node.AddNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	d := s.runtime.(*direct)
	p := &pod{name: name, id: name + "-0123456789abcdef", netns: path}
	if err := d.add(t, p, annotations); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.del(t, p), node.DeleteNetns(name)); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	})
	p.findAddress(t)
	return p
}

// process is a program in a pod.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// exec starts a program in the pod; it is killed when the test ends.
func (p *pod) exec(t *testing.T, name string, args ...string) *process {
	t.Helper()
	cmd := node.Command(p.netns, name, args...)
	log, err := os.OpenFile(logPath(p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
	})
	return &process{cmd, in, bufio.NewScanner(out)}
}

// line returns the program's next line of output.
func (p *process) line(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("%s has no more output: %v", p.cmd.Args, p.out.Err())
	}
	return p.out.Text()
}

// destroyedIn waits until a socket of a pod has been destroyed, and returns the entries of all destroyed ones.
func (s *site) destroyedIn(p *pod) (found []api.Entry) {
	s.TB.Helper()
	s.AwaitEntries("a socket of "+p.name+" is destroyed", func(entries []api.Entry) bool {
		found = nil
		for _, e := range entries {
			if e.ContainerID == p.id && e.Outcome == api.Destroyed && len(e.Owners) > 0 {
				found = append(found, e)
			}
		}
		return len(found) > 0
	})
	return found
}

// outlives waits until a half-closed socket of the pod is older than its grace and has one of these verdicts.
func (s *site) outlives(t *testing.T, p *pod, state inetdiag.State, verdicts ...policy.Reason) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "a half-closed connection of "+p.name+" that is at work outlives the grace", func() bool {
		list, err := s.Client.Sockets(t.Context(), api.SocketQuery{All: true, PodQuery: api.PodQuery{Pod: p.id}, State: state})
		if err != nil {
			return false
		}
		for _, v := range list.Sockets {
			for _, verdict := range verdicts {
				if v.Verdict == verdict && v.Age != nil && time.Duration(*v.Age) > grace+time.Second {
					return true
				}
			}
		}
		return false
	})
}

// pipes tests a program that sends its input, shuts its direction and waits for the other: FIN_WAIT2.
func pipes(comm string, command ...string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		client, server := s.box(t, "client", leaks()), s.run(t, "server", waits())
		at := func(name string) *process {
			var args []string
			for _, arg := range command {
				args = append(args, strings.Replace(arg, "ADDRESS", server.addr, 1))
			}
			p := client.exec(t, args[0], args[1:]...)
			if _, err := io.WriteString(p.in, name+"\n"); err != nil {
				t.Fatal(err)
			}
			p.in.Close()
			server.order(t, "wait", name)
			return p
		}
		busy := at("busy")
		server.order(t, "stream", "busy")
		got := make(chan int64, 1)
		go func() { n, _ := io.Copy(io.Discard, readerOf(busy)); got <- n }()
		leak := at("leak")

		entries := s.destroyedIn(client)
		if e := entries[0]; e.State != inetdiag.FinWait2 || e.Owners[0].Command != comm {
			t.Errorf("the history has %+v", e)
		}
		for leak.out.Scan() { // until it exits with the error
		}
		s.outlives(t, client, inetdiag.FinWait2, policy.Progressing)
		if n := len(s.destroyedIn(client)); n != 1 {
			t.Errorf("%d sockets were destroyed", n)
		}
		server.order(t, "close", "busy")
		if n := <-got; n == 0 {
			t.Error("the connection in use received nothing")
		}
	}
}

// readerOf returns a reader of the program's output.
func readerOf(p *process) io.Reader {
	r, w := io.Pipe()
	go func() {
		p.out.Split(bufio.ScanBytes)
		for p.out.Scan() {
			if _, err := w.Write(p.out.Bytes()); err != nil {
				return
			}
		}
		w.Close()
	}()
	return r
}
