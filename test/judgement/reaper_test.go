// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/deploy/seccomp"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// patience bounds a wait for an event that must happen, even on a busy machine. It is longer than a minute, the
// interval of the bpf finder's walks: they find the sockets for which the kernel did not call the program.
const patience = 2 * time.Minute

// eachFinder runs a test once per finder, in parallel.
func eachFinder(t *testing.T, test func(t *testing.T, finder string)) {
	t.Helper()
	t.Parallel()
	for _, name := range []string{finder.NameSockDiag, finder.NameBPF} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == finder.NameBPF && bpfDenied != nil {
				nstest.NeedBPF(t, bpfDenied)
			}
			test(t, name)
		})
	}
}

// reaper is a state directory and the process of its reaper.
type reaper struct {
	*admin.Client
	t      *testing.T
	finder string
	store  *state.Store
	log    string // the file that it logs to
	cmd    *exec.Cmd
	exited chan struct{} // closed once it has
}

// idleReaper returns the test's own state directory, without a process.
func idleReaper(t *testing.T, finder string) *reaper {
	t.Helper()
	dir := nstest.ShortDir(t)
	r := &reaper{t: t, finder: finder, store: state.New(filepath.Join(dir, "state")), log: filepath.Join(dir, "log")}
	r.Client = admin.NewClient(r.store.SocketPath())
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(r.log)
			t.Logf("the reaper's log:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return r
}

// newReaper starts a reaper that is killed when the test ends.
func newReaper(t *testing.T, finder string, flags ...string) *reaper {
	t.Helper()
	r := idleReaper(t, finder)
	r.start(flags...)
	return r
}

// in returns the reaper for a subtest.
func (r *reaper) in(t *testing.T) *reaper {
	sub := *r
	sub.t = t
	return &sub
}

// start starts the process, and waits until it is ready.
func (r *reaper) start(flags ...string) { r.t.Helper(); r.startIn(nil, flags...) }

// startIn starts the process through a command that executes it in another environment.
func (r *reaper) startIn(surroundings []string, flags ...string) {
	r.t.Helper()
	r.launch(surroundings, flags...)
	r.awaitWork()
}

// inContainer returns the beginning of a command line that executes its rest as in the reaper's container.
func inContainer() []string { return []string{filepath.Join(bin, "confine"), seccomp.Reaper} }

// launch starts the process. Without other surroundings it has the seccomp profile and the capabilities of its container.
func (r *reaper) launch(surroundings []string, flags ...string) {
	r.t.Helper()
	if len(surroundings) == 0 {
		surroundings = inContainer()
	}
	// The default budgets assume one reaper per machine.
	args := slices.Concat(surroundings, []string{command(), "reaper", "--finder", r.finder, "--cpu-budget", "100", "--ask-cpu-budget", "100"}, flags)
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = r.env()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the log has the reason
		close(exited)
	}()
	r.cmd, r.exited = cmd, exited
	r.t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it has its own group, and may have exited
		<-exited
	})
}

func (r *reaper) env() []string {
	return append(os.Environ(), state.EnvDir+"="+r.store.Dir(), "INVOCATION_ID=", "NOTIFY_SOCKET=")
}

func (r *reaper) hasExited() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

func (r *reaper) awaitWork() {
	r.t.Helper()
	nstest.Eventually(r.t, patience, "the reaper works", func() bool {
		if r.hasExited() {
			r.t.Fatal("the reaper has exited")
		}
		_, err := r.Health(r.t.Context())
		return err == nil
	})
}

// ask repeats a request until the reaper answers: on an overloaded machine it may first close a connection.
func (r *reaper) ask(question func() error) {
	r.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = question(); err == nil {
			return
		}
		if r.hasExited() {
			break
		}
	}
	r.t.Fatal(err)
}

func (r *reaper) status() (status api.Status) {
	r.t.Helper()
	r.ask(func() (err error) {
		status, err = r.Status(context.Background())
		return err
	})
	return status
}

// stop ends the process as a service manager does.
func (r *reaper) stop() { r.t.Helper(); r.signal(unix.SIGTERM) }

// kill sends SIGKILL to the process.
func (r *reaper) kill() { r.t.Helper(); r.signal(unix.SIGKILL) }

func (r *reaper) signal(s unix.Signal) {
	r.t.Helper()
	if err := unix.Kill(-r.cmd.Process.Pid, s); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-r.exited:
	case <-time.After(patience):
		r.t.Fatal("the reaper does not exit")
	}
}

// runIn runs a command on the same state directory in another environment, and returns its output.
func (r *reaper) runIn(surroundings []string, args ...string) (output string, err error) {
	r.t.Helper()
	args = slices.Concat(surroundings, []string{command()}, args)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = r.env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// record returns the record that the plugin would write for an attachment with this object in its network's
// configuration.
func (r *reaper) record(ns *nstest.NS, container, object string) state.Record {
	r.t.Helper()
	layer, problems := policy.ParseLayer([]byte(object), policy.SourceNetwork)
	if len(problems) > 0 {
		r.t.Fatal(problems)
	}
	rec := testnode.NewRecord(r.t, ns.Path(), container, policy.Layers{Network: layer, PodOverrides: policy.OverridesNone})
	rec.Pod = state.Pod{Namespace: "judgement", Name: container}
	return rec
}

// put writes a record, with or without a running reaper.
func (r *reaper) put(rec state.Record) state.Record {
	r.t.Helper()
	if err := r.store.Put(rec); err != nil {
		r.t.Fatal(err)
	}
	return rec
}

// register records an attachment, and waits until the reaper knows it.
func (r *reaper) register(ns *nstest.NS, container, object string) state.Record {
	r.t.Helper()
	rec := r.put(r.record(ns, container, object))
	r.awaitRegistered(rec)
	return rec
}

func (r *reaper) awaitRegistered(rec state.Record) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, "the reaper knows the attachment "+rec.String(), func() bool {
		v, ok := r.attachment(rec.Attachment)
		return ok && v.Recorded.Equal(rec.Time)
	})
}

func (r *reaper) attachment(a state.Attachment) (api.AttachmentView, bool) {
	r.t.Helper()
	for _, v := range r.status().Attachments {
		if v.Attachment == a {
			return v, true
		}
	}
	return api.AttachmentView{}, false
}

// view returns the reaper's view of a half-closed socket.
func (r *reaper) view(c addressedConn) (api.SocketView, bool) {
	r.t.Helper()
	local, peer := addresses(c)
	for _, v := range r.views() {
		if v.Local == local.String() && v.Peer == peer.String() {
			return v, true
		}
	}
	return api.SocketView{}, false
}

func (r *reaper) views() []api.SocketView {
	r.t.Helper()
	var list api.SocketList
	r.ask(func() (err error) {
		list, err = r.Sockets(context.Background(), api.SocketQuery{})
		return err
	})
	return list.Sockets
}

// awaitView waits until the reaper's view of a socket meets a condition.
func (r *reaper) awaitView(c addressedConn, what string, want func(api.SocketView) bool) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, what, func() bool {
		v, ok := r.view(c)
		return ok && want(v)
	})
}

func (r *reaper) awaitVerdict(c addressedConn, want policy.Reason) {
	r.t.Helper()
	r.awaitView(c, "the verdict is "+want.String(), func(v api.SocketView) bool { return v.Verdict == want })
}

// awaitViews waits until the reaper's views of all sockets meet a condition. It asks for them together.
func (r *reaper) awaitViews(conns []*net.TCPConn, what string, want func(api.SocketView) bool) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, what, func() bool {
		views := make(map[[2]string]api.SocketView)
		for _, v := range r.views() {
			views[[2]string{v.Local, v.Peer}] = v
		}
		return !slices.ContainsFunc(conns, func(c *net.TCPConn) bool {
			local, peer := addresses(c)
			v, ok := views[[2]string{local.String(), peer.String()}]
			return !ok || !want(v)
		})
	})
}

func (r *reaper) awaitKnown(c addressedConn) {
	r.t.Helper()
	r.awaitView(c, "the reaper has looked at it", func(v api.SocketView) bool { return v.Verdict != policy.Unknown })
}

// entries returns the history of the process.
func (r *reaper) entries() []api.Entry {
	r.t.Helper()
	var page api.HistoryPage
	r.ask(func() (err error) {
		page, err = r.History(context.Background(), api.HistoryQuery{})
		return err
	})
	return page.Entries
}

// entry returns the history's entry for a socket with one of the outcomes, or with any outcome if none is given.
func (r *reaper) entry(c addressedConn, outcomes ...string) (api.Entry, bool) {
	r.t.Helper()
	return entryOf(r.entries(), c, outcomes...)
}

func entryOf(entries []api.Entry, c addressedConn, outcomes ...string) (api.Entry, bool) {
	local, peer := addresses(c)
	for _, e := range entries {
		if e.Local == local && e.Peer == peer && (len(outcomes) == 0 || slices.Contains(outcomes, e.Outcome)) {
			return e, true
		}
	}
	return api.Entry{}, false
}

func (r *reaper) awaitEntry(c addressedConn, outcomes ...string) (e api.Entry) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, strings.Join(outcomes, " or ")+" is in the history", func() (ok bool) {
		e, ok = r.entry(c, outcomes...)
		return ok
	})
	return e
}

// untouched checks that the history has no entry for the sockets, and that they are in the state.
func (r *reaper) untouched(want uint8, conns ...*net.TCPConn) {
	r.t.Helper()
	entries := r.entries()
	for _, c := range conns {
		if e, ok := entryOf(entries, c); ok && e.Outcome != api.WouldDestroy {
			r.t.Errorf("%v is in the history: %+v", c.LocalAddr(), e)
		}
		if got := stateOf(r.t, c); got != want {
			r.t.Errorf("%v is in state %d, want %d", c.LocalAddr(), got, want)
		}
	}
}

// logged returns the lines of the log that contain the text.
func (r *reaper) logged(text string) (lines []string) {
	r.t.Helper()
	all, err := os.ReadFile(r.log)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range bytes.Lines(all) {
		if bytes.Contains(line, []byte(text)) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

// statusText is the status as JSON.
func (r *reaper) statusText() (string, error) {
	status, err := r.Status(context.Background())
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(status)
	return string(text), err
}

// endpoints are the addresses of a connection that the test may no longer have.
type endpoints struct{ local, peer net.Addr }

func addressed(c net.Conn) endpoints { return endpoints{c.LocalAddr(), c.RemoteAddr()} }

func (e endpoints) LocalAddr() net.Addr  { return e.local }
func (e endpoints) RemoteAddr() net.Addr { return e.peer }

// addressedConn is a value with the addresses of a connection.
type addressedConn interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// addresses returns a connection's own addresses, as the reaper writes them.
func addresses(c addressedConn) (local, peer netip.AddrPort) {
	plain := func(a net.Addr) netip.AddrPort {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return plain(c.LocalAddr()), plain(c.RemoteAddr())
}

// The states of a TCP socket in tcp_info (include/net/tcp_states.h).
const (
	established = 1
	finWait2    = 5
	closed      = 7
	closeWait   = 8
)

// stateOf returns a socket's state.
func stateOf(tb testing.TB, c syscall.Conn) (state uint8) {
	tb.Helper()
	control(tb, c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			state = info.State
		}
		return err
	})
	return state
}

func awaitState(tb testing.TB, want uint8, conns ...*net.TCPConn) {
	tb.Helper()
	for _, c := range conns {
		nstest.Eventually(tb, patience, fmt.Sprintf("%v is in state %d", c.LocalAddr(), want), func() bool { return stateOf(tb, c) == want })
	}
}

// control calls fn with the descriptor of a connection.
func control(tb testing.TB, c syscall.Conn, fn func(fd int) error) {
	tb.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) }); errors.Join(cerr, err) != nil {
		tb.Fatalf("control the socket: %v, %v", cerr, err)
	}
}
