// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// The policies of the registered network namespaces.
const (
	destroying = `{"probeAfter": "never", "grace": "500ms"}`
	observing  = `{"probeAfter": "never", "grace": "500ms", "mode": "observe"}`
)

// scene is a node with a reaper whose system calls are supervised.
type scene struct {
	*testnode.Node

	t      *testing.T
	dir    string
	reaper *testnode.Process
	calls  *inject.Supervisor
	flags  []string
	safe   *net.TCPConn // in CLOSE_WAIT in an observed namespace
	sites  int
}

// newScene creates a scene without a running reaper.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	node.Need(t)
	dir, err := os.MkdirTemp("/run", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{Node: testnode.New(t, dir), t: t, dir: dir, flags: flags}
	ns := nstest.New(t)
	s.register(ns, "observed", observing)
	s.safe = leak(t, ns)
	return s
}

// start starts the reaper, and waits until it answers.
func (s *scene) start(calls []uintptr, faults ...inject.Fault) {
	s.t.Helper()
	s.launch(calls, faults...)
	nstest.Eventually(s.t, testnode.Patience, "the reaper answers", func() bool {
		if !s.reaper.Running() {
			s.t.Fatalf("the reaper has exited:\n%s", s.reaper.Output())
		}
		_, err := s.Client.Status(context.Background())
		return err == nil
	})
}

func (s *scene) launch(calls []uintptr, faults ...inject.Fault) {
	s.t.Helper()
	args := append([]string{"reaper", "--min-grace", "100ms", "--cpu-budget", "100", "--ask-cpu-budget", "100", "--adopt=false"}, s.flags...)
	cmd := exec.Command(halfclose(), args...)
	cmd.Env = append(os.Environ(), state.EnvDir+"="+s.dir, "INVOCATION_ID=", "NOTIFY_SOCKET=")
	s.reaper = testnode.StartBy(s.t, cmd, func() (err error) {
		s.calls, err = inject.Start(cmd, calls, faults...)
		return err
	})
}

// register writes the record of a network namespace.
func (s *scene) register(ns *nstest.NS, container, object string) {
	s.t.Helper()
	s.Put(testnode.NewRecord(s.t, ns.Path(), container, layersOf(s.t, object)))
}

// layersOf returns the layers of a network with an object in its configuration.
func layersOf(t *testing.T, object string) policy.Layers {
	t.Helper()
	layer, problems := policy.ParseLayer([]byte(object), policy.SourceNetwork)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return policy.Layers{Network: layer, PodOverrides: policy.OverridesNone}
}

// leak opens a connection with one end in CLOSE_WAIT, and returns that end.
func leak(t *testing.T, ns *nstest.NS) *net.TCPConn {
	t.Helper()
	p := ns.Connect(t, nstest.IPv4)
	if err := p.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, testnode.Patience, "it is in CLOSE_WAIT", func() bool { return stateOf(t, p.Server) == closeWait })
	return p.Server
}

// The states of a TCP socket in tcp_info (include/net/tcp_states.h).
const (
	closed    = 7
	closeWait = 8
)

func stateOf(t *testing.T, c *net.TCPConn) (state uint8) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return info.State
}

// site is a registered network namespace with a leak.
type site struct {
	*nstest.NS

	container string
	leak      *net.TCPConn
}

// newSite returns a network namespace with a leak, which is not registered.
func (s *scene) newSite() *site {
	s.t.Helper()
	s.sites++
	ns := nstest.New(s.t)
	return &site{NS: ns, container: fmt.Sprintf("site%d", s.sites), leak: leak(s.t, ns)}
}

func (s *scene) awaitDestroyed(what string, c *net.TCPConn) {
	s.t.Helper()
	nstest.Eventually(s.t, testnode.Patience, what+" is destroyed", func() bool {
		if !s.reaper.Running() {
			s.t.Fatalf("the reaper has exited:\n%s", s.reaper.Output())
		}
		return stateOf(s.t, c) == closed
	})
}

// nowhere stands for a fault without a consequence to report.
const nowhere = "-"

// report is where a fault is reported: texts that the reaper's answers must contain. "" stands for none.
type report struct{ log, status, metric, health string }

func (r report) String() string {
	var parts []string
	for _, p := range []struct{ where, text string }{{"log", r.log}, {"status", r.status}, {"metric", r.metric}, {"health", r.health}} {
		if p.text != "" {
			parts = append(parts, p.where+" `"+p.text+"`")
		}
	}
	if parts == nil {
		return nowhere
	}
	return strings.Join(parts, ", ")
}

// missing returns the texts that are not reported now.
func (s *scene) missing(r report) (list []string) {
	need := func(text, where string, answer func() (string, error)) {
		if text == "" {
			return
		}
		if got, err := answer(); err != nil || !strings.Contains(got, text) {
			list = append(list, fmt.Sprintf("%s has no %q (%v):\n%s", where, text, err, got))
		}
	}
	need(r.log, "the log", func() (string, error) { return s.reaper.Output(), nil })
	need(r.status, "status", func() (string, error) {
		status, err := s.Client.Status(context.Background())
		if err != nil {
			return "", err
		}
		status.Version.Version = "" // no text of it counts
		text, err := json.Marshal(status)
		return string(text), err
	})
	need(r.metric, "the metrics", func() (string, error) {
		text, err := s.Client.Metrics(context.Background())
		return string(text), err
	})
	need(r.health, "health", func() (string, error) {
		_, err := s.Client.Health(context.Background())
		return fmt.Sprint(err), nil
	})
	return list
}

func (s *scene) awaitReport(r report) {
	s.t.Helper()
	var missing []string
	defer func() {
		for _, m := range missing {
			s.t.Log(m)
		}
	}()
	nstest.Eventually(s.t, testnode.Patience, "the fault is reported", func() bool {
		missing = s.missing(r)
		return len(missing) == 0
	})
}

// finish checks that the observed socket is untouched, and that the reaper exits cleanly.
func (s *scene) finish() {
	s.t.Helper()
	if got := stateOf(s.t, s.safe); got != closeWait {
		s.t.Errorf("the observed socket is in state %d", got)
	}
	s.reaper.Stop()
	<-s.calls.Done()
	if err := s.calls.Err(); err != nil {
		s.t.Error(err)
	}
}

// in selects the calls on paths that begin with one.
func in(elem ...string) func(*inject.Call) bool {
	prefix := filepath.Join(elem...)
	return func(c *inject.Call) bool {
		return strings.HasPrefix(c.Path(), prefix) || strings.HasPrefix(c.Target(), prefix)
	}
}

// options returns the five options of a socket that a question to its peer changes.
func options(t *testing.T, c *net.TCPConn) (values [5]int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) {
		for i, o := range [...][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			if values[i], err = unix.GetsockoptInt(int(fd), o[0], o[1]); err != nil {
				return
			}
		}
	})
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return values
}

// stopReaper stops a reaper that the plugin may have started.
func stopReaper(t *testing.T, dir string) {
	t.Helper()
	testnode.New(t, dir).StopReaper()
}
