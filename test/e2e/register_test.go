// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// registration is the JSON output of register.
type registration struct {
	Record        state.Record       `json:"record"`
	Replaced      []string           `json:"replaced"`
	Kept          []string           `json:"kept"`
	SharedWith    []state.Attachment `json:"sharedWith"`
	ReaperRunning bool               `json:"reaperRunning"`
	Notes         []string           `json:"notes"`
}

// register registers a namespace by hand, and returns the output.
func (w *world) register(t *testing.T, args ...string) (r registration) {
	t.Helper()
	got := w.run(t, append([]string{"register", "--output", "json"}, args...)...)
	notes := got.stderr
	got.stderr = ""
	parse(t, got, &r)
	if notes != "" {
		t.Errorf("on stderr too: %s", notes)
	}
	return r
}

func (w *world) unregister(t *testing.T, arg string) {
	t.Helper()
	if r := w.run(t, "unregister", arg); r.code != 0 || !strings.HasPrefix(r.stdout, "unregistered ") {
		t.Errorf("unregister %s: exit code %d: %s%s", arg, r.code, r.stdout, r.stderr)
	}
}

// destroyed waits until a connection has been destroyed.
func destroyed(t *testing.T, what string, c *net.TCPConn) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, what+" is destroyed", func() bool { return !lives(c) })
}

// lives reports whether a connection is still in CLOSE_WAIT.
func lives(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	state := uint8(0)
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return state == unix.BPF_TCP_CLOSE_WAIT
}

func TestLeaksOfAManualRegistrationAreDestroyedUntilItIsUnregistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	c, witness, unregistered, far := newContainer(t, nil), newContainer(t, nil), newContainer(t, nil), nstest.New(t)
	nstest.Link(t, c.NS, far)

	r := w.register(t, c.name, "--grace", "1s")
	if !r.Record.Manual() || r.Record.ContainerID != c.name || r.Record.Netns.Path != c.path || !r.ReaperRunning || len(r.Notes)+len(r.Replaced) > 0 {
		t.Errorf("registered: %+v", r)
	}
	w.register(t, witness.path, "--grace", "1s")
	twin, connected := leak(t, unregistered), c.Connect(t, nstest.IPv4)
	first := connected.Server
	if err := connected.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	destroyed(t, "the leak of what is registered", first)
	if !lives(twin) {
		t.Error("the twin in a namespace that is not registered was destroyed")
	}

	w.unregister(t, c.name)
	again := c.Connect(t, nstest.IPv4)
	second := again.Server
	if err := again.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	destroyed(t, "a later leak of what is registered still", leak(t, witness))
	if !lives(second) || !lives(twin) {
		t.Error("a leak was destroyed in what is not registered any more, or never was")
	}
	w.unregister(t, witness.path)
	if s := w.AwaitStatus(); len(s.Attachments) > 0 {
		t.Errorf("the reaper still has %+v", s.Attachments)
	}

	// No process, socket or file of halfclose keeps the namespace.
	for _, end := range []*net.TCPConn{first, connected.Client, second, again.Client} {
		end.Close()
	}
	if !far.HasLink(t, nstest.LinkName) {
		t.Fatal("its link has gone before it")
	}
	c.remove(t)
	c.Close()
	nstest.Eventually(t, testnode.Patience, "the namespace is gone", func() bool { return !far.HasLink(t, nstest.LinkName) })
}

// sleeper starts a process in a namespace.
func sleeper(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := node.Command(path, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited
		_ = cmd.Wait()
	})
	nstest.Eventually(t, testnode.Patience, "the process sleeps", func() bool {
		comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "comm"))
		return err == nil && string(comm) == "sleep\n"
	})
	return cmd
}

func TestAProcessIDRegistersItsNamespaceByThePathThatLastsLongest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named, nameless := newContainer(t, nil), nstest.New(t)
	inNamed, inNameless := sleeper(t, named.path), sleeper(t, nameless.Path())

	pid := strconv.Itoa(inNamed.Process.Pid)
	if r := w.register(t, pid); r.Record.Netns.Path != named.path || r.Record.ContainerID != named.name {
		t.Errorf("of a process in a namespace with a name: %+v", r.Record)
	}
	pid = strconv.Itoa(inNameless.Process.Pid)
	r := w.register(t, pid)
	if r.Record.Netns.Path != "/proc/"+pid+"/ns/net" || r.Record.ContainerID != "pid-"+pid || len(r.Notes) != 2 ||
		r.Notes[0] != "the registration lasts as long as process "+pid || !strings.HasPrefix(r.Notes[1], "no reaper is running") {
		t.Errorf("of a process in one without: %+v", r)
	}
	p := w.start(t)
	w.holds(t, p.PID())
	w.AwaitStatus()
	if err := inNameless.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = inNameless.Wait()
	w.unregister(t, "pid-"+pid) // the process is gone
	w.unregister(t, strconv.Itoa(inNamed.Process.Pid))
	listing, err := w.Store.List(t.Context())
	if err != nil || len(listing.Records) > 0 {
		t.Errorf("the remaining records are %+v, %v", listing.Records, err)
	}
}

func TestDigitsThatCouldBeANameAreAmbiguous(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	name := "8" + strconv.Itoa(os.Getpid()) + "1"
	if err := os.WriteFile("/run/netns/"+name, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/run/netns/" + name)
	r := w.run(t, "register", name)
	want := "halfclose: " + name + " is a process id and a name: use /proc/" + name + "/ns/net or /run/netns/" + name + "\n"
	if r.code != 2 || r.stdout != "" || r.stderr != want {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.run(t, "register", "/run/netns/"+name); r.code != 1 || !strings.Contains(r.stderr, "not a network namespace") {
		t.Errorf("by the path of what is none: exit code %d: %s", r.code, r.stderr)
	}
	if r := w.run(t, "register", c.name); r.code != 0 {
		t.Errorf("a name that is not all digits: exit code %d: %s", r.code, r.stderr)
	}
}

func TestTheHostsNamespaceNeedsAFlagForRegisterAndReaper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t, "--mode", "observe")
	w.holds(t, p.PID())
	c := newContainer(t, nil)
	elsewhere := func(args ...string) result {
		cmd := node.Command(c.path, halfclose(), args...)
		cmd.Env = append(os.Environ(), w.exec.env...)
		return run(t, cmd)
	}
	if r := elsewhere("register", "1"); r.code != 1 || !strings.Contains(r.stderr, "/proc/1/ns/net is that of process 1: use --allow-host-netns to register it, here and for the reaper") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.run(t, "register", "1"); r.code != 1 || !strings.Contains(r.stderr, "is this command's own") {
		t.Errorf("from inside: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	r := w.register(t, "1", "--allow-host-netns")
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "the reaper leaves its sockets alone: this is the host's own network namespace") {
		t.Errorf("with the flag, and a reaper without: %q", r.Notes)
	}
	w.unregister(t, "1")
}

func TestRegisterReportsWhatCapsTheModeAndWhoSharesTheNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t, "--mode", "observe")
	w.holds(t, p.PID())
	c := newContainer(t, map[string]string{"halfclose.cni/close-wait-grace": "20m", "halfclose.cni/fin-wait2-grace": "1m"})
	w.add(t, network(t), c)
	r := w.register(t, c.name, "--grace", "5m")
	if len(r.SharedWith) != 1 || r.SharedWith[0] != c.attachment() {
		t.Errorf("it is shared with %v", r.SharedWith)
	}
	if len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "(e2e/"+c.name+"): each socket gets the more conservative verdict of both policies") ||
		r.Notes[1] != "the mode is observe because of the reaper's --mode observe" {
		t.Errorf("it prints %q", r.Notes)
	}
	for _, a := range w.AwaitStatus().Attachments {
		closeWait, finWait2 := 20*time.Minute, time.Minute
		if a.Network == state.ManualNetwork {
			closeWait, finWait2 = 5*time.Minute, 5*time.Minute
		}
		if a.Policy.CloseWaitGrace != policy.Patience(closeWait) || a.Policy.FinWait2Grace != policy.Patience(finWait2) {
			t.Errorf("the policy of %s is %+v", a.Attachment, a.Policy)
		}
	}
	// GC removes records of CNI, and no manual registration.
	gc := w.plugin("GC", state.Attachment{}, "", `{"cniVersion": "1.1.0", "name": "halfclose", "type": "halfclose", "cni.dev/valid-attachments": []}`)
	if r := run(t, gc); r.code != 0 {
		t.Errorf("GC: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if _, err := w.Store.Get(state.ManualAttachment(c.name)); err != nil {
		t.Errorf("after GC: %v", err)
	}
	if again := w.register(t, c.path, "--mode", "off"); len(again.Replaced) != 1 || !slices.Equal(again.Kept, []string{"grace"}) || again.Record.Layers.Resolve(0).Policies[0].Mode != policy.Off {
		t.Errorf("again: %+v", again)
	}
	if r := w.run(t, "unregister", c.path); r.code != 0 || !strings.Contains(r.stderr, "that record stays until its DEL") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.run(t, "unregister", c.path); r.code != 1 || !strings.Contains(r.stderr, "its DEL removes the record") {
		t.Errorf("what CNI recorded: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if _, err := w.Store.Get(c.attachment()); err != nil {
		t.Errorf("CNI's record: %v", err)
	}
}

// A history entry has the name of the manual registration.
func TestTheHistoryHasTheNameOfAManualRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	c := newContainer(t, nil)
	w.register(t, c.path, "--grace", "1s", "--name", "a-long-name-of-its-own")
	destroyed(t, "the leak", leak(t, c))
	var page api.HistoryPage
	nstest.Eventually(t, testnode.Patience, "it is in the history", func() (ok bool) {
		r := w.run(t, "history", "--output", "json")
		if r.code != 0 {
			t.Fatalf("history: %s", r.stderr)
		}
		err := json.Unmarshal([]byte(r.stdout), &page)
		return err == nil && len(page.Entries) > 0
	})
	if e := page.Entries[0]; e.ContainerID != "a-long-name-of-its-own" || e.Network != state.ManualNetwork {
		t.Errorf("the entry is %+v", e)
	}
	if _, err := w.Store.Get(state.ManualAttachment("a-long-name-of-its-own")); err != nil {
		t.Error(err)
	}
}

// holdBoth starts a program that holds both ends of a half-closed connection in 127.NETWORK.0.0/16, and returns the address
// of the end in FIN_WAIT2.
func holdBoth(t *testing.T, network byte, argv ...string) string {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, network, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, network, 0, 2)}}).Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	for _, c := range []net.Conn{client, server} {
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return server.RemoteAddr().String()
}

// TestTheHostsDaemonsAreReapedByCommand registers the network namespace of process 1, which is the test's own.
func TestTheHostsDaemonsAreReapedAndSparedByRules(t *testing.T) {
	t.Parallel()
	refusing := newWorld(t)
	p := refusing.start(t)
	refusing.holds(t, p.PID())
	if r := refusing.run(t, "register", "--host"); r.code != 1 || !strings.Contains(r.stderr, "start it with --allow-host-netns, or HALFCLOSE_ALLOW_HOST_NETNS=true") {
		t.Errorf("with a reaper that refuses it: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := refusing.run(t, "register", "--host", "1"); r.code != 2 || !strings.Contains(r.stderr, "want no NETNS beside it") {
		t.Errorf("with an argument: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	w := newWorld(t)
	allowed := w.start(t, "--allow-host-netns")
	w.holds(t, allowed.PID())
	leaking, sparing := holdBoth(t, 77, "tail", "-f", "/dev/null"), holdBoth(t, 78, "sleep", "1000")
	r := w.register(t, "--host", "--grace", "never", "--probe-after", "never", "--rules",
		`[{"match": {"peers": "127.77.0.0/16"}, "grace": "1s"}, {"match": {"commands": ["sleep"]}, "mode": "off"}]`) // other tests use this namespace too
	if r.Record.ContainerID != "host" || r.Record.Netns.Path != "/proc/1/ns/net" || !r.ReaperRunning {
		t.Errorf("registered is %+v", r)
	}
	for _, note := range r.Notes {
		if !strings.HasPrefix(note, "process 1 is not the host's here") { // in a container
			t.Errorf("note %q", note)
		}
	}
	nstest.Eventually(t, testnode.Patience/4, "the leak is destroyed", func() bool {
		entries, _ := w.Entries()
		for _, en := range entries {
			if en.Outcome == api.Destroyed && (en.Peer.String() == leaking || en.Local.String() == leaking) {
				return true
			}
		}
		return false
	})
	entries, err := w.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, en := range entries {
		if en.Outcome == api.Destroyed && en.Peer.String() != leaking && en.Local.String() != leaking {
			t.Errorf("%s to %s was destroyed too", en.Local, en.Peer)
		}
	}
	if r := w.run(t, "sockets", "--pod", "host", "-o", "wide"); !strings.Contains(r.stdout, sparing) || !strings.Contains(r.stdout, "mode-off") {
		t.Errorf("the socket of the command in the rule is not spared:\n%s%s", r.stdout, r.stderr)
	}
	w.unregister(t, "host")
}
